//! Asks the daemon about each account and certificate that the sources have.
//!
//! Must not know: how Prosody stores anything, rules for accounts: the daemon has them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::account::{self, NoLogin, StoredCertificate, StoredLogin};
#[cfg(feature = "sql")]
use super::database;
use super::folder::DataFolder;
use super::report::{self, Judgement, Report};
use super::source::{Problem, ProsodyStore, Source, SourceError};
use crate::identity::{BareJid, CertificateName, Host, Incarnation, counted};
use crate::protocol::client::{AskError, Asker, Lost};
use crate::protocol::{
    ImportAccount, ImportCertificate, ImportedAccount, MAX_CERTIFICATE_BASE64_BYTES, declaring,
};

/// The hosts to bring, and their sources.
#[derive(Debug)]
pub(crate) struct Selection {
    /// Prosody's data folder.
    pub(crate) dir: PathBuf,
    /// A `SQLite` file with accounts, too.
    #[cfg(feature = "sql")]
    pub(crate) sql: Option<PathBuf>,
    /// Only these hosts; none: all.
    pub(crate) hosts: Vec<Host>,
    /// Leave the accounts where they are; bring only certificates.
    pub(crate) certs_only: bool,
    /// Do it. Without, nothing is changed, and the report says what would be.
    pub(crate) apply: bool,
    /// Declare hosts that no Prosody has declared yet.
    pub(crate) new_host: bool,
}

/// Why an import ends before its end. The admin's, all of them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// A folder or a database can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Another folder was meant.
    #[error("no host has accounts or certificates in {}; is it Prosody's data folder (data_path)?", .dir.display())]
    NothingThere {
        /// The one that was named.
        dir: PathBuf,
    },
    /// Another host was meant.
    #[error("the host {host} has neither accounts nor certificates in {}", .dir.display())]
    HostWithoutAccounts {
        /// The one that was named.
        host: Host,
        /// The data folder.
        dir: PathBuf,
    },
    /// The daemon can't be talked to, and nothing was asked.
    #[error(transparent)]
    NotConnected(#[from] Lost),
    /// The daemon can't be talked to any more.
    #[error(
        "the import was broken off; what was taken stays, and the same command goes on from there"
    )]
    BrokenOff(#[source] Lost),
    /// The daemon knows no such question, or this user may not ask it.
    #[error("{message}; is the daemon of this version, and are you root or its --admin-user?")]
    Unheard {
        /// As the daemon says it.
        message: String,
    },
    /// A question beside those about accounts was not answered.
    #[error(transparent)]
    Unanswered(#[from] AskError),
    /// The daemon's: an answer that is none to the question.
    #[error("the daemon's answer has {answered} of {}", counted(*.asked, "certificate", "certificates"))]
    OtherCount {
        /// So many certificates are in it.
        answered: usize,
        /// So many were in the question.
        asked: usize,
    },
    /// The report can't be written.
    #[error(transparent)]
    Report(#[from] io::Error),
}

/// Brings what is `wanted`, and says whether all of it is in the daemon, or would be.
pub(crate) fn import<W: Write>(
    wanted: &Selection,
    socket: &Path,
    report: Report<W>,
) -> Result<bool, ImportError> {
    let mut problems = Vec::new();
    let sources = wanted.sources()?;
    let hosts = wanted.hosts(&sources, &mut problems)?;
    let mut import = Import {
        asker: Asker::connect(socket)?,
        wanted,
        sources,
        report,
        undeclared: None,
    };
    for problem in &problems {
        import.report.problem(problem)?;
    }
    for host in &hosts {
        import.bring_host(host)?;
    }
    Ok(import.report.finish(wanted.apply)?)
}

impl Selection {
    fn sources(&self) -> Result<Vec<Box<dyn Source>>, SourceError> {
        let folder = DataFolder::open(&self.dir)?;
        #[allow(unused_mut)]
        let mut sources: Vec<Box<dyn Source>> = vec![Box::new(folder)];
        #[cfg(feature = "sql")]
        if let Some(file) = &self.sql {
            sources.push(Box::new(database::Database::open(file)?));
        }
        Ok(sources)
    }

    fn stores(&self) -> &'static [ProsodyStore] {
        if self.certs_only {
            &[ProsodyStore::ClientCerts]
        } else {
            &[ProsodyStore::Accounts, ProsodyStore::ClientCerts]
        }
    }

    /// The hosts to bring: those that were named, or all.
    fn hosts(
        &self,
        sources: &[Box<dyn Source>],
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<Host>, ImportError> {
        let mut found = BTreeSet::new();
        for source in sources {
            found.extend(source.hosts(self.stores(), problems)?);
        }
        if self.hosts.is_empty() {
            if found.is_empty() && problems.is_empty() {
                let dir = self.dir.clone();
                return Err(ImportError::NothingThere { dir });
            }
            return Ok(found);
        }
        problems.clear();
        for host in &self.hosts {
            if !found.contains(host) {
                return Err(ImportError::HostWithoutAccounts {
                    host: host.clone(),
                    dir: self.dir.clone(),
                });
            }
        }
        Ok(self.hosts.iter().cloned().collect())
    }
}

struct Import<'a, W> {
    asker: Asker,
    wanted: &'a Selection,
    sources: Vec<Box<dyn Source>>,
    report: Report<W>,
    /// The host that the daemon was found not to serve.
    undeclared: Option<Host>,
}

impl<W: Write> Import<'_, W> {
    fn bring_host(&mut self, host: &Host) -> Result<(), ImportError> {
        let mut problems = Vec::new();
        // Of each source, the users who have an account there.
        let mut accounts = Vec::new();
        let mut users = BTreeSet::new();
        for source in &self.sources {
            let mut here = BTreeSet::new();
            for store in self.wanted.stores() {
                let found = source.users(host, *store, &mut problems)?;
                users.extend(found.iter().cloned());
                if *store == ProsodyStore::Accounts {
                    here = found;
                }
            }
            accounts.push(here);
        }
        for problem in &problems {
            self.report.problem(problem)?;
        }
        for user in users {
            let has_account: Vec<_> = accounts.iter().map(|here| here.contains(&user)).collect();
            self.bring_user(&user, &has_account)?;
        }
        Ok(())
    }

    /// `has_account`: for each source, whether the user's account is there.
    fn bring_user(&mut self, user: &BareJid, has_account: &[bool]) -> Result<(), ImportError> {
        let login = self.login(user, has_account)?;
        let certificates = self.certificates(user)?;
        if login.is_none() && certificates.is_empty() {
            return Ok(());
        }
        let found = usize::from(login.is_some());
        self.report.found(found, certificates.len());
        let answer = match &login {
            // There may be an account of its name in the daemon, and it may be somebody else's.
            Some(Err(judgement)) => not_taken(judgement, certificates.len()),
            Some(Ok(login)) => self.ask_about(user, Some(login), &certificates)?,
            None => self.ask_about(user, None, &certificates)?,
        };
        let login = login.map(|login| report::LoginReport {
            kind: login.as_ref().ok().map(StoredLogin::kind),
            is_enabled: login.as_ref().map_or(true, StoredLogin::is_enabled),
            judgement: answer.account,
        });
        let names = certificates.into_iter().map(|one| one.name);
        self.report.account(&report::AccountReport {
            jid: user.to_string(),
            login,
            certificates: names.zip(answer.certificates).collect(),
        })?;
        Ok(())
    }

    /// How the user logs in, or why there is nothing to bring; `None` when no source has an account.
    fn login(
        &self,
        user: &BareJid,
        has_account: &[bool],
    ) -> Result<Option<Result<StoredLogin, Judgement>>, ImportError> {
        let mut found: Option<(Result<StoredLogin, Judgement>, String)> = None;
        for (source, has_account) in self.sources.iter().zip(has_account) {
            if !has_account {
                continue;
            }
            let place = source.place(user, ProsodyStore::Accounts);
            let login = match source.read(user, ProsodyStore::Accounts)? {
                Ok(Some(table)) => account::login(&table).map_err(|why| why.judgement(&place)),
                Ok(None) => Err(Judgement::unclear(
                    "unreadable",
                    format!("{place} has gone away"),
                )),
                Err(problem) => Err(Judgement::unclear(
                    "unreadable",
                    format!("{}: {}", problem.place, problem.text),
                )),
            };
            found = Some(match found {
                None => (login, place),
                Some(same) if same.0 == login && login.is_ok() => same,
                Some((_, first)) => {
                    let text = format!("it is in {first} and in {place}, and they differ");
                    (Err(Judgement::unclear("two-accounts", text)), place)
                }
            });
        }
        Ok(found.map(|(login, _)| login))
    }

    fn certificates(&mut self, user: &BareJid) -> Result<Vec<StoredCertificate>, ImportError> {
        let mut certificates = Vec::new();
        for source in &self.sources {
            match source.read(user, ProsodyStore::ClientCerts)? {
                Ok(None) => {}
                Ok(Some(table)) => certificates.extend(account::certificates(&table)),
                Err(problem) => self.report.problem(&problem)?,
            }
        }
        Ok(certificates)
    }

    /// The account's incarnation, as our module remembers it if it ran here already.
    fn incarnation(&mut self, user: &BareJid) -> Result<Option<Incarnation>, ImportError> {
        for source in &self.sources {
            match source.read(user, ProsodyStore::Saslcertd)? {
                Ok(None) => {}
                Ok(Some(table)) => {
                    let text = table
                        .field("incarnation")
                        .and_then(|value| value.as_bytes());
                    let text = text.and_then(|bytes| std::str::from_utf8(bytes).ok());
                    if let Some(incarnation) = text.and_then(|text| Incarnation::parse(text).ok()) {
                        return Ok(Some(incarnation));
                    }
                }
                Err(problem) => self.report.problem(&problem)?,
            }
        }
        Ok(None)
    }

    /// Asks the daemon about an account and its certificates, in as many questions as it takes.
    fn ask_about(
        &mut self,
        user: &BareJid,
        login: Option<&StoredLogin>,
        certificates: &[StoredCertificate],
    ) -> Result<Answer, ImportError> {
        let mut judged: Vec<_> = certificates.iter().map(unsendable).collect();
        let mut batches: Vec<Batch> = Vec::new();
        for (number, one) in certificates.iter().enumerate() {
            if let (Some(None), Ok(certificate)) = (judged.get(number), &one.certificate) {
                let entry = ImportCertificate {
                    name: one.name.clone(),
                    certificate: certificate.clone(),
                    may_manage: one.may_manage,
                };
                let bytes = json!(entry).to_string().len();
                let last = batches.pop();
                let (full, mut batch) = match last {
                    Some(last) if last.bytes + bytes > MAX_BATCH_BYTES => {
                        (Some(last), Batch::default())
                    }
                    last => (None, last.unwrap_or_default()),
                };
                batch.bytes += bytes;
                batch.numbers.push(number);
                batch.entries.push(entry);
                batches.extend(full);
                batches.push(batch);
            }
        }
        if batches.is_empty() && login.is_some() {
            batches.push(Batch::default());
        }
        let incarnation = if batches.is_empty() {
            None
        } else {
            self.incarnation(user)?
        };
        let mut account = None;
        for batch in batches {
            // An account that is only looked at exists for no further question.
            let login = login.filter(|_| account.is_none() || !self.wanted.apply);
            let question = ImportAccount {
                account: user.clone(),
                incarnation: incarnation.clone(),
                login: login.map(StoredLogin::question),
                certificates: batch.entries,
                apply: self.wanted.apply,
            };
            let (of_account, of_certificates) = match self.ask(&question)? {
                Ok(answer) => judgements(answer, batch.numbers.len())?,
                Err(judgement) => (judgement.clone(), vec![judgement; batch.numbers.len()]),
            };
            account.get_or_insert(of_account);
            for (number, judgement) in batch.numbers.into_iter().zip(of_certificates) {
                if let Some(place) = judged.get_mut(number) {
                    *place = Some(judgement);
                }
            }
        }
        let unasked = || Judgement::unclear("fault", "the daemon was not asked");
        Ok(Answer {
            account: account.unwrap_or_else(unasked),
            certificates: judged
                .into_iter()
                .map(|one| one.unwrap_or_else(unasked))
                .collect(),
        })
    }

    /// The daemon's answer, or what follows for the account and its certificates from having none.
    fn ask(
        &mut self,
        question: &ImportAccount,
    ) -> Result<Result<ImportedAccount, Judgement>, ImportError> {
        let host = question.account.host();
        if self.undeclared.as_ref() == Some(host) {
            return Ok(Err(Judgement::unclear("host-undeclared", "see its host")));
        }
        let mut answer = self.asker.ask(question);
        if matches!(
            answer,
            Err(AskError::Fault {
                code: NO_SUCH_HOST,
                ..
            })
        ) {
            if let Some(problem) = self.declare(host)? {
                self.report.problem(&problem)?;
                self.undeclared = Some(host.clone());
                return Ok(Err(Judgement::unclear("host-undeclared", "see its host")));
            }
            answer = self.asker.ask(question);
        }
        match answer {
            Ok(answer) => Ok(Ok(answer)),
            Err(AskError::Refused {
                message, denial, ..
            }) => Ok(Err(Judgement::refused(denial.unwrap_or_default(), message))),
            Err(AskError::Fault {
                code: NO_SUCH_METHOD,
                message,
                ..
            }) => Err(ImportError::Unheard { message }),
            Err(AskError::Fault { message, .. }) => Ok(Err(Judgement::unclear("fault", message))),
            Err(AskError::Lost(lost)) => Err(ImportError::BrokenOff(lost)),
        }
    }

    /// Declares `host` if that is wanted; why the daemon still knows nothing of it, if so.
    fn declare(&mut self, host: &Host) -> Result<Option<Problem>, ImportError> {
        let status = self.asker.status()?;
        let is_known = status.hosts.iter().any(|one| one.host == *host);
        let problem = |text: String| {
            Some(Problem {
                place: host.to_string(),
                is_account: false,
                text,
            })
        };
        if is_known {
            let text = "its options were refused; \"saslcertd status\" says why";
            return Ok(problem(text.to_owned()));
        }
        if !self.wanted.new_host {
            let text = format!(
                "the host {host} is not declared; enable mod_saslcertd there and restart Prosody, or add \
                 --apply --new-host"
            );
            return Ok(problem(text));
        }
        let software = concat!("saslcertd ", env!("CARGO_PKG_VERSION"), " import-prosody");
        declaring::declare(&mut self.asker, software, host)?;
        Ok(None)
    }
}

/// Certificates that go into one question.
#[derive(Default)]
struct Batch {
    bytes: usize,
    numbers: Vec<usize>,
    entries: Vec<ImportCertificate>,
}

/// The daemon's decision.
struct Answer {
    account: Judgement,
    certificates: Vec<Judgement>,
}

/// The fate of an account that has no usable login, and of its certificates.
fn not_taken(account: &Judgement, certificates: usize) -> Answer {
    let text = "its account cannot be taken; --certs-only brings certificates alone";
    Answer {
        account: account.clone(),
        certificates: vec![Judgement::refused("account-not-taken", text); certificates],
    }
}

/// Why the daemon cannot even be asked about a certificate.
fn unsendable(one: &StoredCertificate) -> Option<Judgement> {
    match &one.certificate {
        Err(why) => Some(Judgement::refused(
            "unreadable",
            format!("not readable: {why}"),
        )),
        Ok(base64) if base64.len() > MAX_CERTIFICATE_BASE64_BYTES => Some(Judgement::refused(
            "cert-unacceptable",
            "it is larger than 24 KiB of base64",
        )),
        // Lest it fill the question. Which names are good is the daemon's to say.
        Ok(_) if one.name.len() > MAX_SENT_NAME_BYTES => CertificateName::parse(&one.name)
            .err()
            .map(|error| Judgement::refused("name-invalid", error.to_string())),
        Ok(_) => None,
    }
}

/// The verdicts in the answer: on the account, and on each of the `certificates`.
fn judgements(
    answer: ImportedAccount,
    certificates: usize,
) -> Result<(Judgement, Vec<Judgement>), ImportError> {
    let verdicts = answer.certificates;
    if verdicts.len() != certificates {
        return Err(ImportError::OtherCount {
            answered: verdicts.len(),
            asked: certificates,
        });
    }
    let verdicts = verdicts.into_iter().map(|one| Judgement::of(one.verdict));
    Ok((Judgement::of(answer.account), verdicts.collect()))
}

impl NoLogin {
    fn judgement(self, place: &str) -> Judgement {
        match self {
            Self::NoPassword => Judgement::refused("no-password", "it has no password yet"),
            Self::Damaged(what) => {
                Judgement::refused("damaged", format!("damaged: {what} ({place})"))
            }
        }
    }
}

/// Leaves room for the login in a question of 128 KiB.
const MAX_BATCH_BYTES: usize = 96 * 1024;
/// Much longer than a name may be.
const MAX_SENT_NAME_BYTES: usize = 1024;
/// Code of a question about a host that is not declared, or whose options were refused.
const NO_SUCH_HOST: i64 = -32_002;
/// Code of a method that is not there, or not for this role.
const NO_SUCH_METHOD: i64 = -32_601;
