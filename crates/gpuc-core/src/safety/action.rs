//! What is to be done about a breach, checked before anything starts.

use std::fmt;

use crate::error::{Code, Coded};

/// An action, as `--on-breach` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Report, and do nothing.
    Alert,
    /// Stop the supervised job.
    KillJob,
    /// Shut the WSL2 virtual machine down.
    WslShutdown,
    /// Stop a container.
    DockerStop(String),
    /// Stop a process.
    Kill(i32),
    /// Run a shell command.
    Command(String),
}

/// Where an action is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One look.
    Once,
    /// `--watch`.
    Watch,
    /// `run`.
    Run,
}

/// Why an action cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Misspelt.
    #[error("--on-breach {0} is no action")]
    Unknown(String),
    /// `kill-job` where there is no job.
    #[error("--on-breach kill-job needs a job of the watchdog's own")]
    NoJob,
    /// Nobody would be there to carry it out.
    #[error("--on-breach {0} needs --watch or run: one look only reports")]
    OneLook(String),
    /// No process of this kind may be named.
    #[error("--on-breach kill:{0} is refused: it names no single process that may be stopped")]
    BadPid(String),
    /// Nothing that docker could call a container.
    #[error("--on-breach docker-stop:{0} names no container")]
    BadContainer(String),
    /// Nothing to run.
    #[error("--on-breach command: names no command")]
    NoCommand,
}

impl Coded for ActionError {
    fn code(&self) -> Code {
        Code::InputBadAction
    }
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Unknown(_) => {
                    "one of alert, kill-job (run only), wsl-shutdown, docker-stop:NAME, kill:PID, \
                     command:CMD"
                }
                Self::NoJob => "put the job behind run, or name its process: kill:PID",
                Self::OneLook(_) => "add --watch, or act on the exit status (5 warn, 7 abort)",
                Self::BadPid(_) => "give the number of one process, 2 or more",
                Self::BadContainer(_) => "give the name or id that docker ps shows",
                Self::NoCommand => "for example --on-breach 'command:systemctl stop llama'",
            }
            .to_owned(),
        )
    }
}

impl Action {
    /// The action that `text` names; none, or an empty text, is the place's default.
    pub fn parse(text: Option<&str>, place: Place) -> Result<Self, ActionError> {
        let action = match text.unwrap_or_default() {
            "" if place == Place::Run => Self::KillJob,
            "" | "alert" => Self::Alert,
            "kill-job" => Self::KillJob,
            "wsl-shutdown" => Self::WslShutdown,
            other => Self::with_argument(other)?,
        };
        match (place, &action) {
            (Place::Once | Place::Watch, Self::KillJob) => Err(ActionError::NoJob),
            (Place::Once, other) if *other != Self::Alert => {
                Err(ActionError::OneLook(action.to_string()))
            }
            _ => Ok(action),
        }
    }

    fn with_argument(text: &str) -> Result<Self, ActionError> {
        let Some((kind, argument)) = text.split_once(':') else {
            return Err(ActionError::Unknown(text.to_owned()));
        };
        match kind {
            "docker-stop" if is_container(argument) => Ok(Self::DockerStop(argument.to_owned())),
            "docker-stop" => Err(ActionError::BadContainer(argument.to_owned())),
            // 0, negatives and 1 would reach our own group, everything, or the system itself.
            "kill" => match argument.parse::<i32>() {
                Ok(pid) if pid > 1 && argument.bytes().all(|b| b.is_ascii_digit()) => {
                    Ok(Self::Kill(pid))
                }
                _ => Err(ActionError::BadPid(argument.to_owned())),
            },
            "command" if argument.trim().is_empty() => Err(ActionError::NoCommand),
            "command" => Ok(Self::Command(argument.to_owned())),
            _ => Err(ActionError::Unknown(text.to_owned())),
        }
    }
}

/// Docker's own rule for names, which also keeps an argument from being read as a flag.
fn is_container(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alert => f.write_str("alert"),
            Self::KillJob => f.write_str("kill-job"),
            Self::WslShutdown => f.write_str("wsl-shutdown"),
            Self::DockerStop(name) => write!(f, "docker-stop:{name}"),
            Self::Kill(pid) => write!(f, "kill:{pid}"),
            Self::Command(command) => write!(f, "command:{command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_read_back_as_it_was_written() {
        for text in [
            "alert",
            "kill-job",
            "wsl-shutdown",
            "docker-stop:llama_1",
            "kill:4242",
        ] {
            assert_eq!(
                Action::parse(Some(text), Place::Run).unwrap().to_string(),
                text
            );
        }
        let command = "command:echo a:b";
        assert_eq!(
            Action::parse(Some(command), Place::Watch)
                .unwrap()
                .to_string(),
            command
        );
    }

    #[test]
    fn the_default_follows_the_place() {
        for text in [None, Some("")] {
            assert_eq!(Action::parse(text, Place::Run), Ok(Action::KillJob));
            assert_eq!(Action::parse(text, Place::Watch), Ok(Action::Alert));
            assert_eq!(Action::parse(text, Place::Once), Ok(Action::Alert));
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        let bad = [
            "frobnicate",
            "kil-job",
            "Alert",
            "kill",
            "kill:",
            "kill:-1",
            "kill:0",
            "kill:1",
            "kill:+7",
            "kill:99999999999",
            "kill:x",
            "docker-stop:",
            "docker-stop:--all",
            "docker-stop:a b",
            "command:",
            "command: ",
            "docker_stop:x",
            "alert:now",
        ];
        for text in bad {
            let e = Action::parse(Some(text), Place::Run).unwrap_err();
            assert_eq!(e.code().as_str(), "INPUT_BAD_ACTION", "{text}");
            assert!(e.hint().is_some());
        }
        assert_eq!(
            Action::parse(Some("kill-job"), Place::Watch),
            Err(ActionError::NoJob)
        );
        assert_eq!(
            Action::parse(Some("command:true"), Place::Once),
            Err(ActionError::OneLook("command:true".into()))
        );
    }
}
