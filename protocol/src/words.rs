//! Enums that are words on wires and in stores. What serde derives for such an enum also
//! reads it as a number or as bytes, and is ten times the code.

/// Defines an enum whose text form is a word for each variant.
macro_rules! words {
    (
        $(#[$doc:meta])* $vis:vis enum $name:ident as $expected:literal {
            $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order of their definition.
            #[allow(dead_code, reason = "of those inside this crate nobody asks")]
            $vis const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word.
            $vis fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::id::InvalidId;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::id::InvalidId { expected: $expected }),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::id::parse_text(deserializer)
            }
        }
    };
}
pub(crate) use words;
