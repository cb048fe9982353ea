//! Requests to the stand-in of a running `jobrun up`, as curl makes them.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use jobrun_shared::config;
use reqwest::Response;

use crate::commands::up::local_url;
use crate::table;

/// How long the stand-in may take: it repeats a webhook up to six times, and waits 15 seconds for each.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Where the stand-in listens.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct At {
    /// The port of the stand-in, at the address of STAND_IN_ADDR [default: 127.0.0.1:8090]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub stand_in_port: Option<u16>,
}

impl At {
    fn url(self, settings: &config::Operator, path: &str) -> String {
        let addr = settings.stand_in_addr;
        format!("{}{path}", local_url(SocketAddr::new(addr.ip(), self.stand_in_port.unwrap_or(addr.port()))))
    }

    /// Posts a form. Returns the words of the response.
    ///
    /// # Errors
    /// When no stand-in answers, or it refuses.
    pub async fn post(self, settings: &config::Operator, path: &str, form: &[(&str, &str)]) -> anyhow::Result<String> {
        let url = self.url(settings, path);
        let request = client()?.post(&url).timeout(TIMEOUT).form(form);
        let words = accepted(request.send().await, &url).await?.text().await?;
        Ok(words.trim_end().to_owned())
    }

    /// Posts a form, and prints the words of the response.
    ///
    /// # Errors
    /// As [`At::post`].
    pub async fn post_and_print(
        self,
        settings: &config::Operator,
        path: &str,
        form: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let words = self.post(settings, path, form).await?;
        writeln!(table::stdout(), "{words}")?;
        Ok(())
    }

    /// Gets a stream.
    ///
    /// # Errors
    /// As [`At::post`].
    pub async fn get(
        self,
        settings: &config::Operator,
        path: &str,
        query: &[(&str, &str)],
        accepts: &str,
    ) -> anyhow::Result<Response> {
        let url = self.url(settings, path);
        accepted(client()?.get(&url).query(query).header("accept", accepts).send().await, &url).await
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    jobrun_twilio::api::use_tls_provider();
    // The stand-in is on this machine, and is never reached through a proxy.
    Ok(reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(5)).build()?)
}

async fn accepted(answer: reqwest::Result<Response>, url: &str) -> anyhow::Result<Response> {
    let answer = answer.with_context(|| {
        format!("no stand-in answers at {url}: start it with `jobrun up`, or name its port with --stand-in-port")
    })?;
    if !answer.status().is_success() {
        bail!("{}", answer.text().await?.trim_end());
    }
    Ok(answer)
}
