//! autofixer
