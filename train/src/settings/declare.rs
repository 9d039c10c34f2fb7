//! What one list of settings becomes.

/// Declares all settings of a run, one entry each, and makes of the list what was given (`Settings`: flags of `train_cifar` and keys of a
/// config file), what holds (`RunConfig`, with its defaults), and the table that knows each by its name (`SETTINGS`). An entry reads
///
/// ```text
/// /// Words of the help.
/// name("VALUE"): Given as Kept = default => "words for no default", Fixed, of Owner;
/// ```
///
/// `--name VALUE` and `name = ...` give a `Given`, which the config keeps as a `Kept` (see `Held`). An entry `name in sweep` is a field of the
/// engine's `SweepSpec`, which has its default. A switch has no `("VALUE")`. `Fixed` or `Free` says whether a resume may change it (see
/// `Resume`), `of` where it means nothing (see `Owner`). Attributes `#[arg(...)]` go to clap.
macro_rules! settings {
    (
        #[doc = $spec_doc:literal]
        $spec_name:ident: $Spec:ty = $spec_default:expr;
        $($group:literal {$(
            #[doc = $help:literal]
            $(#[arg($($arg:tt)*)])*
            $name:ident $(in $spec:ident)? $(($value:literal))?: $given:ty $(as $kept:ty = $default:expr)?
            $(=> $instead:literal)?, $resume:ident $(, of $owner:ident)?;
        )*})*
    ) => {
        /// What was given on the command line, or in a config file. A setting that was not given falls back to the next source.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {$($(
            #[doc = $help]
            #[arg(long, help_heading = $group)]
            #[arg(help = described(
                $help,
                [$($value)?].first(),
                Held::<$given>::give(&RunConfig::default()$(.$spec)?.$name),
                [$($instead)?].first(),
            ))]
            $(#[arg(value_name = $value, hide_possible_values = true)])?
            $(#[arg($($arg)*)])*
            pub $name: Option<$given>,
        )*)*}

        /// A run's settings, all of them. The defaults are the paper's recipe at depth 8.
        #[derive(Clone, Debug, PartialEq)]
        pub struct RunConfig {
            $($($(
                #[doc = $help]
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                pub $name: $kept,
            )?)*)*
            #[doc = $spec_doc]
            pub $spec_name: $Spec,
        }

        impl Default for RunConfig {
            fn default() -> Self {
                Self { $($($($name: $default,)?)*)* $spec_name: $spec_default }
            }
        }

        impl Settings {
            fn put(self, config: &mut RunConfig) {
                $($(if let Some(given) = self.$name {
                    config$(.$spec)?.$name.hold(given);
                })*)*
            }
        }

        impl From<&RunConfig> for Settings {
            fn from(config: &RunConfig) -> Self {
                Self {$($(
                    $name: if true $(&& Owner::$owner.has(config))? {
                        Held::<$given>::give(&config$(.$spec)?.$name)
                    } else {
                        None
                    },
                )*)*}
            }
        }

        /// Every setting by its name, in the order of the help and of a config file.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting {
                name: stringify!($name),
                resume: Resume::$resume,
                owner: &[$(Owner::$owner)?],
                given: |settings| settings.$name.is_some(),
            },
        )*)*];
    };
}

pub(super) use settings;
