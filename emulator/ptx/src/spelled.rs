//! A macro for enums whose variants are words of PTX, so that each word is written once.

/// Declares an enum with the PTX spelling of every variant, without its leading dot.
macro_rules! spelled {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* #[doc = concat!("`", $word, "`")] $variant,)+
        }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// How PTX spells it, without a leading dot.
            pub const fn spelling(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}
pub(super) use spelled;
