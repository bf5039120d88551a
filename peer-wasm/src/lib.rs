//! Shoal in the browser: the driver of the peer and its JavaScript package.
