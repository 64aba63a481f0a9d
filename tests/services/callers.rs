//! Who calls: users, each of one scenario alone, since quotas are a user's.

use serde_json::{Value, json};
use syncline_tests::exchange::Ask;
use syncline_tests::profile::JWT_SECRET;
use syncline_tests::rpc::new_store;
use syncline_tests::token::{now, sign};

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// The token's `userId`.
    pub id: String,
    /// The workspace of which it is a member.
    pub workspace: String,
    /// Its token, where one is required.
    pub token: Option<String>,
}

impl User {
    /// A user of whom there was none before.
    pub fn new(name: &str, has_token: bool) -> Self {
        let id = new_store(name);
        let workspace = format!("{id}-workspace");
        let claims = claims(&id, &[(&workspace, "member")]);
        Self {
            token: has_token.then(|| sign(&claims, JWT_SECRET)),
            id,
            workspace,
        }
    }

    /// The same with another role, in another's workspace.
    pub fn in_workspace(mut self, workspace: &str, role: &str) -> Self {
        workspace.clone_into(&mut self.workspace);
        let claims = claims(&self.id, &[(workspace, role)]);
        self.token = Some(sign(&claims, JWT_SECRET));
        self
    }

    /// A request of this user's.
    pub fn ask(&self, method: &str, path_and_query: &str) -> Ask {
        Ask::new(method, path_and_query).bearer(self.token.as_deref())
    }

    /// A POST of JSON.
    pub fn post_json(&self, path: &str) -> Ask {
        self.ask("POST", path)
            .with("content-type", "application/json")
    }
}

/// The claims of a good token.
pub fn claims(user: &str, workspaces: &[(&str, &str)]) -> Value {
    let workspaces = workspaces
        .iter()
        .map(|(id, role)| json!({"id": id, "role": role}));
    json!({
        "userId": user,
        "iat": now(),
        "exp": now() + 3_600,
        "workspaces": workspaces.collect::<Vec<_>>(),
        "workspaceClaimsVersion": 1,
    })
}
