//! Setters of parameters: builders whose fields are public too.

/// Declares setters, each of the field of its name. `=> Some` wraps the value.
macro_rules! setters {
    ($($(#[$meta:meta])* $name:ident: $type:ty $(=> $wrap:path)?;)*) => {$(
        $(#[$meta])*
        pub fn $name(mut self, $name: $type) -> Self {
            $(let $name = $wrap($name);)?
            self.$name = $name;
            self
        }
    )*};
}
pub(crate) use setters;
