//! `ops/` against a server that runs: Prometheus collects its metrics, and
//! every query of the dashboard and of the alerts finds what it names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::process::Process;
use syncline_tests::profile::{JWT_SECRET, Profile};
use syncline_tests::promql::{self, Query};
use syncline_tests::rpc::{Client, event, events, failure_code, pull, ws_url};
use syncline_tests::server::{Server, Syncline};
use syncline_tests::socket::Socket;
use syncline_tests::token;
use syncline_tests::vocabulary::Vocabulary;

/// How long something may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Prometheus adds to series, and what histograms have.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

fn ops(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join(name).canonicalize().unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(ops(name)).unwrap()
}

/// The program, if it is there.
fn command(program: &str) -> Command {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    assert!(
        is_there,
        "{program} is needed for this test: apt-get install --no-install-recommends prometheus"
    );
    Command::new(program)
}

/// What promtool has to say against a name of OpenTelemetry's.
const DISLIKED: &str = "process_open_file_descriptor_count non-histogram and non-summary metrics should not have \"_count\" suffix";

/// Runs promtool, which has to like what it is given.
fn promtool(arguments: &[&str], input: &str) {
    let mut child = command("promtool")
        .args(arguments)
        .current_dir(ops("ops"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let is_all_disliked = !said.is_empty() && said.lines().all(|line| line == DISLIKED);
    assert!(
        output.status.success() || is_all_disliked,
        "promtool {arguments:?}: {said}"
    );
}

/// The URL of a client of this user.
fn url_of(user: &str, store: &str) -> String {
    let claims = json!({
        "userId": user,
        "exp": token::now() + 3_600,
        "workspaces": [{"id": store, "role": "owner"}],
        "workspaceClaimsVersion": 1,
    });
    let token = token::sign(&claims, JWT_SECRET);
    let payload = json!({"authToken": token, "instanceId": store}).to_string();
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    format!("{}&payload={}", ws_url(store), encode(&payload))
}

/// A server that has done something of everything that there is a panel for.
struct Scene {
    server: Server,
    /// A subscriber that stays.
    _subscriber: Client,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let claims = dir.path().join("claims.json");
        fs::write(&claims, "{}").unwrap();
        let mut syncline = Syncline::new("sqlite:data", Profile::Auth);
        syncline.arguments = vec![
            "--metrics".to_owned(),
            "--claims-versions".to_owned(),
            claims.to_str().unwrap().to_owned(),
            "--images".to_owned(),
            "images".to_owned(),
        ];
        let images = "https://images.example.com".to_owned();
        syncline.variables.push(("R2_PUBLIC_URL", images));
        let server = syncline.start_in(dir.path()).unwrap();
        let open = |store: &str| Client::over(Socket::open(&server, &url_of("ada", store)), store);
        let mut subscriber = open("s");
        let id = subscriber.pull(true, None);
        subscriber.next(&id);
        let mut client = open("s");
        client.push_ok(&events(1, 3));
        subscriber.next(&id);
        // Refused, for now and for good.
        client.push_refused(&events(1, 1));
        let exit = client.push(&[event(4), event(6)]);
        assert_eq!(failure_code(&exit), "INVALID_EVENTS");
        client.socket.close(1000);
        // One that ends without a close, and one that the server closes.
        drop(open("s"));
        let mut stray = open("s");
        stray.socket.send(pull("1", "another", true, None));
        stray.socket.receive_close();
        let (code, _) = Socket::open(&server, &ws_url("s")).receive_close();
        assert_eq!(code, 4401);
        // Nobody can be admitted whose claims are not known.
        fs::write(&claims, "no claims").unwrap();
        let (code, _) = Socket::open(&server, &url_of("grace", "s")).receive_close();
        assert_eq!(code, 1013);
        let body = pull("1", "s", false, None).to_string();
        let _ = http::request(&server, "POST", "/?storeId=s&transport=http", &[], &body);
        // A service asks somebody for what is not there.
        let path = format!("/api/images/covers/{}.png", "a".repeat(32));
        let answer = http::get(&server, &path);
        assert_eq!(answer.status, 404, "{answer:?}");
        let scene = Self {
            server,
            _subscriber: subscriber,
            dir,
        };
        scene.wait_for("syncline_closed_by=\"network\"");
        scene.wait_for("syncline_subscription_state=\"live\"} 1");
        scene.wait_for("syncline_delivery_duration_seconds_count");
        scene
    }

    fn metrics(&self) -> String {
        let response = http::get(&self.server, "/metrics");
        assert_eq!(response.status, 200);
        response.body
    }

    /// Waits until the metrics have this.
    fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.metrics().contains(words) {
            let metrics = self.metrics();
            assert!(Instant::now() < deadline, "no {words} in:\n{metrics}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The labels that each metric has, by its series.
fn series(metrics: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::<_, BTreeSet<String>>::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, _) = line.rsplit_once(' ').unwrap();
        // A series is a selector that matches itself.
        let of_line = Query::new(line, name);
        let metric = of_line.metrics.into_iter().next().unwrap();
        all.entry(metric).or_default().extend(of_line.labels);
    }
    all
}

/// Prometheus, collecting a server's metrics.
struct Prometheus {
    server: Server,
}

impl Prometheus {
    fn start(dir: &Path, of: &Server) -> Self {
        let target = of.url.trim_start_matches("http://");
        let rules = ops("ops/alerts.yml");
        let configuration = json!({
            "global": {"scrape_interval": "250ms", "evaluation_interval": "250ms"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "syncline", "static_configs": [{"targets": [target]}]}],
        });
        // JSON is YAML, too.
        let file = dir.join("prometheus.yml");
        fs::write(&file, configuration.to_string()).unwrap();
        drop(command("prometheus"));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "exec prometheus \"$@\" 2>&1", "sh"])
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("prometheus").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0");
        let mut process = Process::start(shell).unwrap();
        let address = process.wait_for(PATIENCE, |line| {
            let (_, address) = line.split_once("msg=\"Listening on\" address=")?;
            Some(address.trim().to_owned())
        });
        Self {
            server: Server {
                url: format!("http://{}", address.unwrap()),
                process: Some(process),
                dir: None,
                is_original: false,
            },
        }
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let answer = http::get(&self.server, path);
        if answer.status != 200 {
            return Err(answer.body);
        }
        Ok(answer.json()["data"].take())
    }

    /// How many results a query has.
    fn query(&self, text: &str) -> Result<usize, String> {
        let encoded =
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        let data = self.get(&format!("/api/v1/query?query={encoded}"))?;
        Ok(data["result"].as_array().map_or(0, Vec::len))
    }

    /// Waits until a query has a result.
    fn wait_for(&self, of: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.query(text) {
                Ok(0) => assert!(Instant::now() < deadline, "{of}: nothing for {text}"),
                Ok(_) => return,
                // Until it has begun.
                Err(error) if error.contains("Service Unavailable") => {
                    assert!(Instant::now() < deadline, "{error}");
                }
                Err(error) => panic!("{of}: {text}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn the_alerts_are_rules_that_fire_when_they_should() {
    promtool(&["check", "rules", "alerts.yml"], "");
    promtool(&["test", "rules", "alerts.test.yml"], "");
}

#[test]
fn every_query_of_an_operators_finds_what_it_names() {
    let scene = Scene::new();
    let metrics = scene.metrics();
    promtool(&["check", "metrics"], &metrics);

    // The document has what is served, and nothing else.
    let served = series(&metrics);
    let document = Vocabulary::read(&read("observability.md"));
    let mut explained = BTreeSet::from(["target_info".to_owned()]);
    for metric in &document.metrics {
        let names = match metric.kind.as_str() {
            "histogram" => vec!["_bucket", "_sum", "_count"],
            _ => vec![""],
        };
        let known: BTreeSet<String> = metric
            .attributes
            .iter()
            .map(|it| it.replace('.', "_"))
            .chain(["le".to_owned()])
            .collect();
        for end in names {
            let name = format!("{}{end}", metric.prometheus);
            let labels = served.get(&name);
            let labels = labels.unwrap_or_else(|| panic!("{name} is not served:\n{metrics}"));
            let unknown: Vec<_> = labels.difference(&known).collect();
            assert!(unknown.is_empty(), "{name} has {unknown:?}");
            explained.insert(name);
        }
    }
    let unexplained: Vec<_> = served
        .keys()
        .filter(|it| !explained.contains(*it))
        .collect();
    assert!(
        unexplained.is_empty(),
        "not in observability.md: {unexplained:?}"
    );

    // Queries name what is served, with the labels that it has.
    let panels = promql::of_dashboard(&read("ops/dashboard.json"));
    let alerts = promql::of_rules(&read("ops/alerts.yml"));
    for query in panels.iter().chain(&alerts) {
        let mut labels: BTreeSet<String> = OF_PROMETHEUS.map(str::to_owned).into();
        for name in query.metrics.iter().filter(|name| *name != "up") {
            let of_metric = served.get(name);
            labels.extend(
                of_metric
                    .unwrap_or_else(|| panic!("{}: {name}", query.of))
                    .clone(),
            );
        }
        query.has_no_labels_but(&labels);
    }

    // Prometheus understands them, and no panel is empty.
    let prometheus = Prometheus::start(scene.dir.path(), &scene.server);
    for query in panels.iter().chain(&alerts) {
        for selector in &query.selectors {
            prometheus.wait_for(&query.of, selector);
        }
    }
    for query in &panels {
        prometheus.wait_for(&query.of, &query.text);
    }
    for query in &alerts {
        let result = prometheus.query(&query.text);
        assert!(result.is_ok(), "{}: {result:?}", query.of);
    }

    // It judges by the alerts, and calls nobody for a server that is well.
    let deadline = Instant::now() + PATIENCE;
    let rules = loop {
        let data = prometheus.get("/api/v1/rules").unwrap();
        let rules = data["groups"][0]["rules"].as_array().unwrap().clone();
        if rules.iter().all(|rule| rule["health"] != "unknown") {
            break rules;
        }
        assert!(Instant::now() < deadline, "{rules:?}");
    };
    assert_eq!(rules.len(), alerts.len());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let is_page = rule["labels"]["severity"] == "page";
        assert!(!is_page || rule["state"] != "firing", "{rule}");
    }
}
