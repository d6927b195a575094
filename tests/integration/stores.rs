//! Stores of a whole deployment: where they lie, who may read them, and who else has them open.

mod machines;
mod management;
mod places;
mod rights;
mod two_libraries;
