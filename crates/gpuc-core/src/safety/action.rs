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
                     command:CMD, or several with commas between them"
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

/// What `--on-breach` asks for: one action or several, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// The actions that `text` names, with commas between them; none, or an empty text, is the
    /// place's default.
    ///
    /// A command may hold commas itself: it goes on until one that an action's name follows.
    pub fn parse(text: Option<&str>, place: Place) -> Result<Self, ActionError> {
        let actions = match text.unwrap_or_default() {
            "" if place == Place::Run => vec![Action::KillJob],
            "" => vec![Action::Alert],
            text => split(text)
                .into_iter()
                .map(Action::of)
                .collect::<Result<_, _>>()?,
        };
        for action in &actions {
            match (place, action) {
                (Place::Once | Place::Watch, Action::KillJob) => return Err(ActionError::NoJob),
                (Place::Once, other) if *other != Action::Alert => {
                    return Err(ActionError::OneLook(action.to_string()));
                }
                _ => {}
            }
        }
        Ok(Self(actions))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Action> {
        self.0.iter()
    }

    /// Whether nothing is to be done but to report.
    pub fn only_alert(&self) -> bool {
        self.0.iter().all(|a| *a == Action::Alert)
    }

    /// Whether the job is to be stopped before anything else is done.
    pub fn job_first(&self) -> bool {
        let mut deeds = self.0.iter().filter(|a| **a != Action::Alert);
        deeds.next() == Some(&Action::KillJob)
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, action) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            action.fmt(f)?;
        }
        Ok(())
    }
}

/// The parts between the commas that part actions.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let in_command = rest.starts_with("command:");
        let end = rest
            .match_indices(',')
            .map(|(at, _)| rest.split_at(at))
            .find(|(_, tail)| !in_command || tail.strip_prefix(',').is_some_and(begins_action));
        let Some((part, tail)) = end else {
            parts.push(rest);
            return parts;
        };
        parts.push(part);
        rest = tail.strip_prefix(',').unwrap_or_default();
    }
}

fn begins_action(text: &str) -> bool {
    let first = text.split(',').next().unwrap_or_default();
    matches!(first, "alert" | "kill-job" | "wsl-shutdown")
        || ["docker-stop:", "kill:", "command:"]
            .iter()
            .any(|kind| text.starts_with(kind))
}

impl Action {
    fn of(text: &str) -> Result<Self, ActionError> {
        match text {
            "alert" => Ok(Self::Alert),
            "kill-job" => Ok(Self::KillJob),
            "wsl-shutdown" => Ok(Self::WslShutdown),
            other => Self::with_argument(other),
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
                Actions::parse(Some(text), Place::Run).unwrap().to_string(),
                text
            );
        }
        let command = "command:echo a:b";
        assert_eq!(
            Actions::parse(Some(command), Place::Watch)
                .unwrap()
                .to_string(),
            command
        );
    }

    #[test]
    fn the_default_follows_the_place() {
        for text in [None, Some("")] {
            let only = |action| Ok(Actions(vec![action]));
            assert_eq!(Actions::parse(text, Place::Run), only(Action::KillJob));
            assert_eq!(Actions::parse(text, Place::Watch), only(Action::Alert));
            assert_eq!(Actions::parse(text, Place::Once), only(Action::Alert));
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
            "alert,",
            ",alert",
            "alert,frobnicate",
            "docker-stop:a,b",
            "command:,alert",
        ];
        for text in bad {
            let e = Actions::parse(Some(text), Place::Run).unwrap_err();
            assert_eq!(e.code().as_str(), "INPUT_BAD_ACTION", "{text}");
            assert!(e.hint().is_some());
        }
        assert_eq!(
            Actions::parse(Some("kill-job"), Place::Watch),
            Err(ActionError::NoJob)
        );
        assert_eq!(
            Actions::parse(Some("command:true"), Place::Once),
            Err(ActionError::OneLook("command:true".into()))
        );
    }

    #[test]
    fn several_are_parted_by_commas_that_no_command_needs() {
        let read = |text| {
            let actions = Actions::parse(Some(text), Place::Run).unwrap();
            assert_eq!(actions.to_string(), text);
            actions.iter().cloned().collect::<Vec<_>>()
        };
        let command = |text: &str| Action::Command(text.to_owned());
        assert_eq!(
            read("alert,docker-stop:a,kill:42,kill-job"),
            [
                Action::Alert,
                Action::DockerStop("a".into()),
                Action::Kill(42),
                Action::KillJob
            ]
        );
        assert_eq!(
            read("command:cut -d, -f1,2 x,kill-job"),
            [command("cut -d, -f1,2 x"), Action::KillJob]
        );
        assert_eq!(
            read("command:a,alerting,command:b"),
            [command("a,alerting"), command("b")]
        );
        assert_eq!(read("command:a,,"), [command("a,,")]);
    }

    #[test]
    fn what_comes_first_and_whether_anything_does() {
        let of = |text| Actions::parse(Some(text), Place::Run).unwrap();
        assert!(of("alert,alert").only_alert() && !of("alert,kill-job").only_alert());
        assert!(of("alert,kill-job,command:x").job_first());
        assert!(!of("command:x,kill-job").job_first() && !of("alert").job_first());
    }
}
