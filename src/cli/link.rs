//! `saslcertd link`: links by which devices get keys without a password.
//!
//! Must not know: rules for links: the daemon has them.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value, json};

use super::cert::account;
use super::global::Global;
use super::hosts::{host, of_host};
use super::say::{say, say_json};
use crate::identity::time::typed_seconds;
use crate::identity::{BareJid, Host, LinkId, LinkKind};
use crate::protocol::client::Asker;
use crate::protocol::{CreateLink, ListLinks, RevokeLink};
use crate::wording::links::{self as wording, ListedLink};

/// `saslcertd link`.
#[derive(Debug, Subcommand)]
pub(super) enum LinkCommand {
    /// Make a link, and show it this once. Whoever opens it gets a key without a password.
    ///
    /// The certificate that comes by it may add and revoke others of the account, where the host lets certificates do that.
    Create(NewLink),
    /// List the links that can still be used. The links themselves are not kept.
    List {
        /// Of an account or a host only.
        #[arg(value_name = "JID|HOST")]
        of: Option<String>,
    },
    /// Revoke a link, so that nobody can use it any more.
    Revoke {
        /// Its id, as `link list` shows it.
        id: LinkId,
    },
}

/// A link that is to be made.
#[derive(Debug, Args)]
pub(super) struct NewLink {
    /// For whom.
    jid: String,
    /// What it does: "add" gives one more device a key; "new" makes the account, without a password; "replace" revokes all
    /// certificates of the account when it is used, as after the loss of its only device.
    #[arg(long, default_value = "add", value_name = "add|new|replace")]
    kind: LinkKind,
    /// The name that is proposed for the device.
    #[arg(long)]
    name: Option<String>,
    /// How long it counts, from 1m to 30d.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = typed_seconds)]
    expires: u64,
    /// How often it can be used, up to 100 times; only one that adds can be used more than once.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    uses: u32,
}

pub(super) fn run(command: &LinkCommand, global: &Global) -> anyhow::Result<ExitCode> {
    let (json, said) = match command {
        LinkCommand::Create(new) => create(new, global)?,
        LinkCommand::List { of } => list(of.as_deref(), global)?,
        LinkCommand::Revoke { id } => {
            let revoked = Asker::connect(&global.socket)?.ask(&RevokeLink { id: *id })?;
            (json!(revoked), revoked.is_revoked())
        }
    };
    if global.json {
        say_json(&json.to_string())?;
    } else {
        say(said.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn create(new: &NewLink, global: &Global) -> anyhow::Result<(Value, String)> {
    let account = account(&new.jid)?;
    let question = CreateLink {
        account: account.clone(),
        incarnation: None,
        session: None,
        kind: new.kind,
        name: new.name.clone(),
        seconds: Some(new.expires),
        uses: Some(new.uses),
    };
    let made = Asker::connect(&global.socket)?.ask(&question);
    let made = made.map_err(|error| of_host(error, account.host()))?;
    let url = made.url.0.as_str();
    let mut said = format!("{url}\n");
    if io::stdout().is_terminal() {
        said.push_str(&picture(url).unwrap_or_default());
    }
    said.push_str(&made.row.effect());
    said.push('\n');
    let about_page = wording::about_page(url, made.is_served, &account);
    said.push_str(&about_page.unwrap_or_default());
    Ok((json!(made), said))
}

/// A QR code for a terminal with light letters on a dark ground; most readers take it on others, too.
fn picture(url: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(url, EcLevel::L).ok()?;
    let mut image = code.render::<Dense1x2>();
    let image = image
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark);
    Some(format!("\n{}\n\n", image.build()))
}

fn list(of: Option<&str>, global: &Global) -> anyhow::Result<(Value, String)> {
    let (account, of_host) = match of {
        None => (None, None),
        Some(of) => whose(of)?,
    };
    let mut question = ListLinks {
        account,
        host: of_host,
        after: None,
    };
    let mut daemon = Asker::connect(&global.socket)?;
    let mut links: Vec<ListedLink> = Vec::new();
    loop {
        let page = daemon.ask(&question)?;
        links.extend(page.links);
        if page.next.is_none() {
            break;
        }
        question.after = page.next;
    }
    let rows = links.iter().map(ListedLink::in_one_line);
    let said: Vec<String> = rows.chain([wording::listed(links.len())]).collect();
    Ok((json!({"links": links}), said.join("\n")))
}

fn whose(of: &str) -> anyhow::Result<(Option<BareJid>, Option<Host>)> {
    Ok(match BareJid::parse(of) {
        Ok(account) => (Some(account), None),
        Err(_) => (None, Some(host(of)?)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_link_is_a_picture_that_fits_a_small_terminal() {
        let picture =
            picture("https://shakespeare.lit:5281/devices#-_v7-_v7-_v7-_v7-_v7-w").unwrap();
        let lines: Vec<&str> = picture.trim_matches('\n').lines().collect();
        assert!((15..=23).contains(&lines.len()), "{}", lines.len());
        // It has a margin of light.
        let first = lines.first().unwrap();
        assert!(first.chars().all(|letter| letter == '\u{2588}'));
        let width = first.chars().count();
        assert!(width <= 80 && lines.iter().all(|line| line.chars().count() == width));
    }
}
