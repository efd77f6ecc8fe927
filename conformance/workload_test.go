package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"arca/conformance/identity"
	"arca/internal/oidctest"
)

// Workloads: programs without keys of their own. They show a token of an issuer that
// the account has registered, or take a role by a profile.

// workload is a role that the bearers of an issuer's tokens may assume, and a secret
// that it may read.
type workload struct {
	*identity.Kit
	issuer   *oidctest.Issuer
	provider string // ARN
	role     *identity.Role
	secret   string
}

const (
	value = "for the workload"
	// session is the name that the variables and profiles give to sessions.
	session = "checkout-pod"
)

// newWorkload registers an issuer on loopback, whose certificate nobody trusts, by its
// thumbprint.
func newWorkload(k *identity.Kit) *workload {
	k.T.Helper()
	if shared.Server == nil {
		k.T.Skip("needs a server that reaches an issuer on loopback")
	}
	w := &workload{Kit: k, issuer: oidctest.New(k.T)}
	made, err := k.IAM.CreateOpenIDConnectProvider(k.Ctx(), &iam.CreateOpenIDConnectProviderInput{
		Url: &w.issuer.URL, ClientIDList: []string{oidctest.Audience}, ThumbprintList: []string{w.issuer.Authority.Thumbprint()}})
	if err != nil {
		k.T.Fatal(err)
	}
	w.provider = aws.ToString(made.OpenIDConnectProviderArn)
	name, arn := k.Secret(k.Caller, "MyApp/workload", value)
	w.secret = name
	w.role = k.Role("workload", w.trust(oidctest.Subject), identity.Allow("secretsmanager:GetSecretValue", arn))
	return w
}

// trust is the trust policy that cloud guides recommend: one issuer, one audience, one
// subject.
func (w *workload) trust(subject string) string {
	return identity.Policy(identity.Statement{
		Effect: "Allow", Principal: map[string]any{"Federated": w.provider}, Action: "sts:AssumeRoleWithWebIdentity",
		Condition: identity.Conditions{"StringEquals": {
			w.issuer.Registered() + ":aud": oidctest.Audience,
			w.issuer.Registered() + ":sub": subject,
		}},
	})
}

// tokenFile puts a token where a cluster would.
func (w *workload) tokenFile(change map[string]any) string {
	w.T.Helper()
	name := filepath.Join(w.T.TempDir(), "token")
	w.writeToken(name, change)
	return name
}

func (w *workload) writeToken(name string, change map[string]any) {
	w.T.Helper()
	if err := os.WriteFile(name, []byte(w.issuer.Token(w.T, change)), 0o600); err != nil {
		w.T.Fatal(err)
	}
}

// env is the environment of a workload: the server, and who it is.
func (w *workload) env(more ...string) []string {
	return append(append(programEnv(w.T), "ARCA_SECRET="+w.secret), more...)
}

// tokenEnv is what IRSA and its like put into a container.
func (w *workload) tokenEnv(file string) []string {
	return []string{"AWS_WEB_IDENTITY_TOKEN_FILE=" + file, "AWS_ROLE_ARN=" + w.role.ARN, "AWS_ROLE_SESSION_NAME=" + session}
}

// profile writes a configuration whose profile "app" takes the role with a user's key.
func (w *workload) profile(user *identity.User, more string) (files []string) {
	w.T.Helper()
	creds, err := user.Config.Credentials.Retrieve(w.Ctx())
	if err != nil {
		w.T.Fatal(err)
	}
	dir := w.T.TempDir()
	for name, text := range map[string]string{
		"config": fmt.Sprintf("[profile app]\nrole_arn = %s\nsource_profile = keys\nrole_session_name = %s\nregion = %s\n%s\n",
			w.role.ARN, session, shared.Config.Region, more),
		"credentials": fmt.Sprintf("[keys]\naws_access_key_id = %s\naws_secret_access_key = %s\n", creds.AccessKeyID, creds.SecretAccessKey),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.T.Fatal(err)
		}
	}
	return []string{
		"AWS_PROFILE=app", "AWS_CONFIG_FILE=" + filepath.Join(dir, "config"), "AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(dir, "credentials"),
		"AWS_SDK_LOAD_CONFIG=1",
	}
}

// trustUser lets a user take the role.
func (w *workload) trustUser(user *identity.User) {
	w.T.Helper()
	w.Must(w.IAM.UpdateAssumeRolePolicy(w.Ctx(), &iam.UpdateAssumeRolePolicyInput{RoleName: &w.role.Name, PolicyDocument: aws.String(identity.Trust(user.ARN))}))
}

// loadGo gives this process an environment and loads the Go SDK's configuration from it.
func loadGo(t *testing.T, env []string) aws.Config {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	for _, setting := range env {
		name, value, _ := strings.Cut(setting, "=")
		if name != "PATH" {
			t.Setenv(name, value)
		}
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// The Go SDK finds a token, a role and the server in its environment.
func TestGoWebIdentity(t *testing.T) {
	w := newWorkload(identity.NewSerial(t, shared))
	cfg := loadGo(t, append(w.env(w.tokenEnv(w.tokenFile(nil))...),
		"AWS_ENDPOINT_URL="+shared.Endpoint(), "AWS_ENDPOINT_URL_STS="+shared.Endpoint()))
	client := secretsmanager.NewFromConfig(cfg)
	out, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &w.secret})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.SecretString) != value {
		t.Errorf("value %q", aws.ToString(out.SecretString))
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil || aws.ToString(who.Arn) != w.role.SessionARN(session) || aws.ToString(who.UserId) != w.role.ID+":"+session {
		t.Errorf("GetCallerIdentity = %+v, %v", who, err)
	}
	_, err = client.ListSecrets(t.Context(), nil)
	identity.WantDenied(t, err, w.role.SessionARN(session), "secretsmanager:ListSecrets", "", identity.NoIdentity)
}

// New credentials are fetched with the token that is in the file by then.
func TestGoWebIdentityRefresh(t *testing.T) {
	w := newWorkload(identity.NewSerial(t, shared))
	file := w.tokenFile(nil)
	cfg := loadGo(t, append(w.env(w.tokenEnv(file)...), "AWS_ENDPOINT_URL="+shared.Endpoint(), "AWS_ENDPOINT_URL_STS="+shared.Endpoint()))
	cache, ok := cfg.Credentials.(*aws.CredentialsCache)
	if !ok {
		t.Fatalf("credentials are %T", cfg.Credentials)
	}
	client := secretsmanager.NewFromConfig(cfg)
	read := func() error {
		_, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &w.secret})
		return err
	}
	key := func() string {
		t.Helper()
		c, err := cache.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(c.Expires); !c.CanExpire || left < 50*time.Minute || left > 61*time.Minute {
			t.Errorf("credentials end in %v", left)
		}
		return c.AccessKeyID
	}
	w.Must(nil, read())
	first := key()
	if key() != first {
		t.Error("credentials are fetched for every call")
	}
	w.writeToken(file, nil) // as clusters do now and then
	cache.Invalidate()
	if key() == first {
		t.Error("credentials are not fetched anew")
	}
	w.Must(nil, read())
	// A token that has ended brings no more.
	w.writeToken(file, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	cache.Invalidate()
	_, err := cache.Retrieve(t.Context())
	identity.WantError(t, err, "ExpiredTokenException", http.StatusBadRequest, "")
}

func TestGoProfile(t *testing.T) {
	w := newWorkload(identity.NewSerial(t, shared))
	user := w.User("user")
	w.trustUser(user)
	env := append(w.env(), w.profile(user, "")...)
	cfg := loadGo(t, append(env, "AWS_ENDPOINT_URL="+shared.Endpoint(), "AWS_ENDPOINT_URL_STS="+shared.Endpoint()))
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &w.secret})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.SecretString) != value {
		t.Errorf("value %q", aws.ToString(out.SecretString))
	}
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil || aws.ToString(who.Arn) != w.role.SessionARN(session) {
		t.Errorf("GetCallerIdentity = %+v, %v", who, err)
	}
}

// runWith executes a client program in an environment and returns what it writes to
// standard output.
func runWith(ctx context.Context, dir string, env []string, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", filepath.Base(program), err, out.Bytes(), errOut.Bytes())
	}
	return out.String(), nil
}

// The JavaScript SDK finds all of it in its environment, by one variable for all
// services or by one for each.
func TestJavaScriptWebIdentity(t *testing.T) {
	w := newWorkload(identity.New(t, shared))
	program := node(t)
	for name, env := range map[string][]string{
		"one endpoint":        {"AWS_ENDPOINT_URL=" + shared.Endpoint()},
		"endpoint by service": {"AWS_ENDPOINT_URL_STS=" + shared.Endpoint(), "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + shared.Endpoint()},
	} {
		t.Run(name, func(t *testing.T) {
			wantWorkload(t, w, program, w.env(append(w.tokenEnv(w.tokenFile(nil)), env...)...))
		})
	}
	// A token for another subject opens nothing.
	out, err := runWith(t.Context(), "js", w.env(append(w.tokenEnv(w.tokenFile(map[string]any{"sub": "somebody"})), "AWS_ENDPOINT_URL="+shared.Endpoint())...), program, "workload.js")
	if err == nil || !strings.Contains(err.Error(), "Not authorized to perform sts:AssumeRoleWithWebIdentity") {
		t.Errorf("with another subject: %q, %v", out, err)
	}
}

func TestJavaScriptProfile(t *testing.T) {
	w := newWorkload(identity.New(t, shared))
	program := node(t)
	user := w.User("user")
	w.trustUser(user)
	for name, env := range map[string][]string{
		"endpoint in the environment": append(w.profile(user, ""), "AWS_ENDPOINT_URL="+shared.Endpoint()),
		"endpoint in the profile":     w.profile(user, "endpoint_url = "+shared.Endpoint()),
	} {
		t.Run(name, func(t *testing.T) { wantWorkload(t, w, program, w.env(env...)) })
	}
}

// wantWorkload runs the program of the JavaScript SDK and checks what it has read.
func wantWorkload(t *testing.T, w *workload, program string, env []string) {
	t.Helper()
	out, err := runWith(t.Context(), "js", env, program, "workload.js")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Values      []string
		AccessKeyID string `json:"accessKeyId"`
		Expiration  time.Time
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("output %q: %v", out, err)
	}
	if len(got.Values) != 2 || got.Values[0] != value || got.Values[1] != value || !strings.HasPrefix(got.AccessKeyID, "ASIA") {
		t.Errorf("output %s", out)
	}
	if left := time.Until(got.Expiration); left < 50*time.Minute || left > 61*time.Minute {
		t.Errorf("credentials end in %v", left)
	}
}

// The boto3 of Debian knows no endpoint variable, so the client of STS is made by hand.
func TestPythonWebIdentity(t *testing.T) {
	w := newWorkload(identity.New(t, shared))
	needs(t, "/usr/bin/python3")
	env := w.env(append(w.tokenEnv(w.tokenFile(nil)), "ARCA_VALUE="+value, "ARCA_SESSION_ARN="+w.role.SessionARN(session))...)
	if _, err := runWith(t.Context(), "python", env, "/usr/bin/python3", "-B", "workload.py"); err != nil {
		t.Fatal(err)
	}
}

// The AWS CLI of Debian, likewise.
func TestCLIWebIdentity(t *testing.T) {
	w := newWorkload(identity.New(t, shared))
	needs(t, "/usr/bin/aws")
	env := w.env(append(w.tokenEnv(w.tokenFile(nil)), "ARCA_VALUE="+value, "ARCA_SESSION_ARN="+w.role.SessionARN(session))...)
	if _, err := runWith(t.Context(), "cli", env, "/bin/bash", "workload.sh"); err != nil {
		t.Fatal(err)
	}
}
