//! A key is told from another by its address alone.

pub struct Key;
