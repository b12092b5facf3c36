//! The arguments of `edge-ger watch`.

use std::{io, path::PathBuf};

use clap::Args;

use super::Failure;
use crate::{
    config::{FilePath, Mqtt, SecretFile, file::secrets},
    sandbox,
    service::{
        Exit,
        signals::{self, HangupAction},
    },
    terminal::Terminal,
    time::SystemClock,
    watch::{self, Form, Task, address},
};

#[derive(Args, Debug)]
pub(super) struct Watch {
    /// The broker, and the boxes' mqtt.topic_prefix: `mqtt://[USER@]HOST[:PORT][/PREFIX]`, or mqtts:// where it encrypts
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// The file that holds the user's password, and nothing else
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// mqtts: the authority that signed the broker's certificate, PEM; the system's otherwise
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// mqtts: our certificate, PEM
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// mqtts: the key to our certificate, PEM
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
    /// A JSON object a line for all that comes
    #[arg(long, conflicts_with = "once")]
    json: bool,
    /// Print what the broker holds now as a table, and end: exit 1 if it cannot be reached
    #[arg(long)]
    once: bool,
}

/// Keys of the configuration, and the options that have their place here.
const OPTIONS: [(&str, &str); 4] = [
    ("mqtt.password_file", "--password-file"),
    ("mqtt.tls_ca_file", "--ca-file"),
    ("mqtt.tls_certificate_file", "--certificate-file"),
    ("mqtt.tls_key_file", "--key-file"),
];

fn with_option_names(text: &str) -> String {
    OPTIONS.iter().fold(text.to_owned(), |text, (key, option)| text.replace(key, option))
}

/// Runs `edge-ger watch`.
pub(super) fn watch(arguments: Watch) -> Result<Exit, Failure> {
    let form = match () {
        () if arguments.once => Form::Once,
        () if arguments.json => Form::Json,
        () if Terminal::is_possible() => Form::View,
        () => Form::Lines,
    };
    let task = task(arguments, form)?;
    let internal = |err: io::Error| Failure::new(Exit::Internal, err);
    let stop = signals::listen(HangupAction::Stop).map_err(internal)?;
    // This process has the password.
    sandbox::enter(sandbox::Profile::Networked).map_err(|err| Failure::new(Exit::Internal, err))?;
    watch::run(&task, &stop, &SystemClock, &mut io::stdout().lock()).map_err(|err| {
        let exit = match err {
            watch::Error::Tls(_) => Exit::Configuration,
            watch::Error::Io(_) => Exit::Internal,
            watch::Error::Unreached(_) => Exit::Unanswered,
        };
        Failure::new(exit, with_option_names(&err.to_string()))
    })?;
    Ok(Exit::Stopped)
}

fn task(arguments: Watch, form: Form) -> Result<Task, Failure> {
    let usage = |text: &str| Failure::new(Exit::Usage, text);
    let place = address::parse(&arguments.address).map_err(usage)?;
    if arguments.password_file.is_some() && place.user.is_none() {
        return Err(usage("--password-file means nothing without a user: write mqtt://USER@HOST"));
    }
    if !place.secure && (arguments.ca_file.is_some() || arguments.certificate_file.is_some()) {
        return Err(usage("--ca-file and --certificate-file mean nothing without TLS: write mqtts://HOST"));
    }
    let mqtt = Mqtt {
        password_file: arguments.password_file.map(SecretFile),
        tls_ca_file: arguments.ca_file.map(FilePath),
        tls_certificate_file: arguments.certificate_file.map(FilePath),
        tls_key_file: arguments.key_file.map(SecretFile),
        ..Mqtt::default()
    };
    let unusable = |err: secrets::Unusable| Failure::new(Exit::Configuration, with_option_names(&err.to_string()));
    let secrets = secrets::mqtt(&mqtt).map_err(unusable)?;
    Ok(Task { place, secrets, form })
}
