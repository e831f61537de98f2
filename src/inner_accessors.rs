//! The accessors of a service for the service inside it.

/// Implements `get_ref`, `get_mut` and `into_inner` for a service with the field `inner`:
/// `inner_accessors!(pub MyService)`.
macro_rules! inner_accessors {
    ($vis:vis $Service:ident) => {
        impl<S> $Service<S> {
            /// The inner service.
            $vis fn get_ref(&self) -> &S {
                &self.inner
            }

            /// The inner service, to change it.
            $vis fn get_mut(&mut self) -> &mut S {
                &mut self.inner
            }

            /// Returns the inner service.
            $vis fn into_inner(self) -> S {
                self.inner
            }
        }
    };
}

pub(crate) use inner_accessors;
