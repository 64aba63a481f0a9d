//! What a person is told who opens the server's address: in HTML for a
//! browser, in two lines for others.

use super::Response;
use crate::config::Config;

const TEXT: &str = "Syncline, a sync backend for LiveStore.\n\
Point a LiveStore client's makeWsSync, makeHttpSync (0.4) or makeCfSync (0.3) at this URL.\n";

/// Nothing is loaded, run, submitted or framed: the page is text, with its
/// style in it, and an empty icon, so that browsers ask for none.
const SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The answer, with these CORS headers.
#[must_use]
pub fn response(
    config: &Config,
    accept: Option<&str>,
    mut headers: Vec<(String, String)>,
) -> Response {
    let mut header = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    // Two bodies at one URL.
    header("vary", "accept");
    let body = if accept.is_some_and(accepts_html) {
        header("content-type", "text/html; charset=utf-8");
        header("content-security-policy", SECURITY_POLICY);
        header("x-content-type-options", "nosniff");
        html(config)
    } else {
        header("content-type", "text/plain; charset=utf-8");
        TEXT.to_owned()
    };
    Response {
        status: 200,
        headers,
        body,
    }
}

/// Whether an `Accept` header names HTML (RFC 9110, 12.5.1), as browsers' do.
/// `*/*` does not: that is what programs say.
fn accepts_html(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let names_html = parts
            .next()
            .is_some_and(|media| media.eq_ignore_ascii_case("text/html"));
        names_html && !parts.any(is_refusal)
    })
}

/// Whether a parameter is `q=0`, `q=0.000`: not at all. Numbers are not read,
/// which would take 19 KiB of the component.
fn is_refusal(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, weight)| {
        let weight = weight.trim();
        name.trim().eq_ignore_ascii_case("q")
            && !weight.is_empty()
            && weight.bytes().all(|byte| matches!(byte, b'0' | b'.'))
    })
}

/// Nothing of the request and no value of the configuration stands in it, so
/// nothing has to be escaped and nothing is given away.
fn html(config: &Config) -> String {
    let (payload, tokens) = if config.auth_required {
        (
            ",\n  syncPayload: { authToken: '…', instanceId: 'my-store' },",
            "Tokens are required: <code>instanceId</code> is the <code>storeId</code>, and one of \
             the token's workspaces. Who has no good token is closed with code 4401 or 4403 and \
             the reason.",
        )
    } else {
        (
            ",",
            "No tokens are required: this server is in development.",
        )
    };
    let origins = match (config.allowed_origins.is_empty(), config.auth_required) {
        (_, false) => {
            "Pages of this machine may connect, and those of the web origins in \
             <code>ALLOWED_ORIGINS</code>."
        }
        (true, true) => "Pages of any web origin may connect.",
        (false, true) => "Pages of the web origins in <code>ALLOWED_ORIGINS</code> may connect.",
    };
    format!(
        "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<meta name=\"color-scheme\" content=\"light dark\">
<link rel=\"icon\" href=\"data:,\">
<title>Syncline</title>
<style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}}\
th,td{{text-align:left;padding:0 1.5rem 0 0}}pre{{overflow:auto}}</style>
<h1>Syncline</h1>
<p>This is a sync backend for <a href=\"https://livestore.dev\">LiveStore</a> apps, and it \
runs. There is nothing to see here: apps connect to this address.</p>
<h2>Clients served</h2>
<table>
<tr><th>LiveStore</th><th>constructor</th><th>transport</th></tr>
<tr><td>0.4</td><td><code>makeWsSync</code></td><td>WebSocket</td></tr>
<tr><td>0.4</td><td><code>makeHttpSync</code></td><td>HTTP, polling</td></tr>
<tr><td>0.4</td><td><code>@livestore/adapter-cloudflare</code></td><td>between Durable Objects, \
where this is a Cloudflare Worker</td></tr>
<tr><td>0.3</td><td><code>makeCfSync</code></td><td>WebSocket</td></tr>
</table>
<p>Syncline has two hosts, Cloudflare Workers and <code>syncline serve</code> on a machine of \
one's own. They serve the same clients in the same way.</p>
<h2>Connecting</h2>
<p>In the app's worker file, with this page's address, <code>ws://</code> instead of \
<code>http://</code> and <code>wss://</code> instead of <code>https://</code>:</p>
<pre><code>import {{ makeWsSync }} from '@livestore/sync-cf/client'

makeWorker({{ schema, sync: {{ backend: makeWsSync({{ url: 'wss://…' }}) }} }})</code></pre>
<p>And where it makes its store:</p>
<pre><code>createStorePromise({{
  adapter, schema, storeId: 'my-store'{payload}
}})</code></pre>
<p>{tokens} {origins}</p>
<p>It does not sync? A client that is refused says nothing: the server's log says why, and \
Syncline's README what to do. Whether the server works: <a href=\"/readyz\">/readyz</a>.</p>
</html>
"
    )
}

#[cfg(test)]
mod tests {
    use super::accepts_html;

    #[test]
    fn only_who_names_html_gets_it() {
        for accept in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json, Text/HTML;level=1;q=0.5",
        ] {
            assert!(accepts_html(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*",
            "application/json",
            "text/html;q=0",
            "text/html; Q = 0.000",
            "text/htmlx",
            "application/text/html",
        ] {
            assert!(!accepts_html(accept), "{accept}");
        }
    }
}
