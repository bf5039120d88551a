//! The Shoal peer without I/O: links, transfers, catalogs, replication.
