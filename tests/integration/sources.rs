//! The sources: their layers and rooms, and the header that is made of them.

mod header;
mod layers;
mod rooms;
