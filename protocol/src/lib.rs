//! What Shoal's peers and servers put on wires and into stores: names, checks, messages.
