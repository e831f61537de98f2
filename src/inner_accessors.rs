//! Accessors for the inner service.

/// Implements `get_ref`, `get_mut` and `into_inner` for a service with the field `inner`:
/// `inner_accessors!(pub MyService)`.
macro_rules! inner_accessors {
    ($vis:vis $Service:ident) => {
        impl<S> $Service<S> {
            /// Returns a reference to the inner service.
            $vis fn get_ref(&self) -> &S {
                &self.inner
            }

            /// Returns a mutable reference to the inner service.
            $vis fn get_mut(&mut self) -> &mut S {
                &mut self.inner
            }

            /// Consumes `self` and returns the inner service.
            $vis fn into_inner(self) -> S {
                self.inner
            }
        }
    };
}

pub(crate) use inner_accessors;
