package rotator_test

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/egress"
	"arca/internal/rotator"
)

// put stores a version, as somebody does who may write the secret.
func (b *bed) put(t testing.TB, secret, token, value string, labels ...string) {
	t.Helper()
	_, err := b.client.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: &secret, ClientRequestToken: &token, SecretString: &value, VersionStages: labels,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestValues: what is wrong with a secret's value is found before anything is sent to a
// server; there is none here.
func TestValues(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	const ok = `{"engine": "postgres", "host": "127.0.0.1", "port": 1, "username": "app", "password": "p4ssw0rd", "masterarn": "MASTER"}`
	with := func(old, new string) string { return strings.Replace(ok, old, new, 1) }
	for _, tc := range []struct {
		name          string
		kind, step    string
		value, next   string // current and pending
		errType, text string
	}{
		{"no JSON", rotator.PostgreSQLSingleUser, "createSecret", "p4ssw0rd", "", "InvalidSecret", "not a JSON object"},
		{"a list", rotator.PostgreSQLSingleUser, "createSecret", `["p4ssw0rd"]`, "", "InvalidSecret", "not a JSON object"},
		{"more after it", rotator.PostgreSQLSingleUser, "createSecret", ok + "x", "", "InvalidSecret", "not a JSON object"},
		{"a member twice", rotator.PostgreSQLSingleUser, "createSecret", with(`"port": 1`, `"host": "db.example"`), "", "InvalidSecret", "each member once"},
		{"another case", rotator.PostgreSQLSingleUser, "createSecret", with(`"host"`, `"Host"`), "", "InvalidSecret", "host key is missing from secret JSON"},
		{"no engine", rotator.PostgreSQLSingleUser, "createSecret", with(`"engine"`, `"x"`), "", "InvalidSecret", "engine key is missing"},
		{"another engine", rotator.MariaDBSingleUser, "createSecret", ok, "", "InvalidSecret", "Database engine must be set to 'mariadb' in order to use this rotation lambda"},
		{"no password", rotator.PostgreSQLSingleUser, "createSecret", with(`"p4ssw0rd"`, `""`), "", "InvalidSecret", "password key is missing"},
		{"null for a user", rotator.PostgreSQLSingleUser, "createSecret", with(`"app"`, `null`), "", "InvalidSecret", "username key is missing"},
		{"a number for a user", rotator.PostgreSQLSingleUser, "createSecret", with(`"app"`, `7`), "", "InvalidSecret", "username in the secret is not a string"},
		{"a socket for a host", rotator.PostgreSQLSingleUser, "createSecret", with(`127.0.0.1`, `/var/run/postgresql`), "", "InvalidSecret", "neither a host name nor an address"},
		{"two hosts", rotator.PostgreSQLSingleUser, "createSecret", with(`127.0.0.1`, `127.0.0.1,10.0.0.1`), "", "InvalidSecret", "neither a host name nor an address"},
		{"a host and a port", rotator.PostgreSQLSingleUser, "createSecret", with(`127.0.0.1`, `127.0.0.1:5432`), "", "InvalidSecret", "neither a host name nor an address"},
		{"port 0", rotator.PostgreSQLSingleUser, "createSecret", with(`1,`, `0,`), "", "InvalidSecret", "port in the secret"},
		{"a large port", rotator.PostgreSQLSingleUser, "createSecret", with(`1,`, `"65536",`), "", "InvalidSecret", "port in the secret"},
		{"a zero byte", rotator.PostgreSQLSingleUser, "createSecret", with(`app`, `app\u0000x`), "", "InvalidSecret", "control characters"},
		{"a long name", rotator.PostgreSQLSingleUser, "createSecret", with(`app`, strings.Repeat("a", 64)), "", "InvalidSecret", "longer than 63 bytes"},
		{"no room for a clone", rotator.PostgreSQLMultiUser, "createSecret", with(`app`, strings.Repeat("a", 58)), "", "InvalidSecret", "Unable to clone user"},
		{"a name of two words", rotator.RedisSingleUser, "createSecret", strings.Replace(with(`app`, `app on`), "postgres", "redis", 1), "", "InvalidSecret", "has spaces"},
		{"another user", rotator.PostgreSQLSingleUser, "setSecret", ok, with("app", "postgres"), "InvalidSecret", `Attempting to modify user "postgres" other than "app"`},
		{"the same user", rotator.PostgreSQLMultiUser, "setSecret", ok, ok, "InvalidSecret", `Attempting to modify user "app" other than "app_clone"`},
		{"another host", rotator.PostgreSQLSingleUser, "setSecret", ok, with("127.0.0.1", "127.0.0.2"), "InvalidSecret", "other than current host 127.0.0.1:1"},
		{"another port", rotator.PostgreSQLSingleUser, "setSecret", ok, with(`1,`, `2,`), "InvalidSecret", "other than current host"},
		{"another host to test", rotator.PostgreSQLSingleUser, "testSecret", ok, with("127.0.0.1", "127.0.0.2"), "InvalidSecret", "another host than the current one"},
		{"another host to finish", rotator.PostgreSQLSingleUser, "finishSecret", ok, with("127.0.0.1", "127.0.0.2"), "InvalidSecret", "another host than the current one"},
		{"a password of other characters", rotator.PostgreSQLSingleUser, "setSecret", ok, with("p4ssw0rd", "pässwort"), "InvalidSecret", "printable ASCII"},
		{"a member that is not there", rotator.Generic, "createSecret", `{"a": "p4ssw0rd"}`, "", "InvalidSecret", "password key is missing from secret JSON; SECRET_FIELD"},
		{"broken JSON", rotator.Generic, "createSecret", ` {"password": "p4ssw0rd"`, "", "InvalidSecret", "not a JSON object"},
		{"no such step", rotator.Generic, "rotateSecret", ok, ok, "InvalidEvent", `Invalid step parameter "rotateSecret"`},
		{"no such rotator", "SecretsManagerRDSOracleRotationSingleUser", "createSecret", ok, "", "InvalidEvent", "no rotation function called"},
		{"nobody answers", rotator.PostgreSQLSingleUser, "setSecret", ok, ok, "Unreachable", "connect to 127.0.0.1:1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			secret, token := b.create(t, "s/"+newToken(), tc.value), newToken()
			if tc.next != "" {
				b.put(t, secret, token, tc.next, "AWSPENDING")
			}
			err := b.step(t.Context(), tc.kind, tc.step, secret, token)
			wantError(t, err, tc.errType, tc.text)
			if got := b.value(t, secret, "AWSCURRENT"); got != tc.value {
				t.Errorf("AWSCURRENT = %s", got)
			}
		})
	}
	if said := b.said(); strings.Contains(said, "p4ssw0rd") || strings.Contains(said, "pässwort") {
		t.Errorf("a password is in the output:\n%s", said)
	}
}

// TestState: a version that is not to be rotated to is not touched.
func TestState(t *testing.T) {
	t.Parallel()
	b := newBed(t, nil)
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			secret, token := b.create(t, "s/"+newToken(), "value"), newToken()
			b.setDisabled(true)
			wantError(t, b.step(t.Context(), rotator.Generic, step, secret, token), "InvalidSecret", "is not enabled for rotation")
			b.setDisabled(false)
			b.put(t, secret, token, "other", "MINE")
			wantError(t, b.step(t.Context(), rotator.Generic, step, secret, token), "InvalidSecret", "not set as AWSPENDING for rotation of secret "+secret)
			err := rotator.Rotate(t.Context(), rotator.Config{Egress: b.egress, Log: b.log}, rotator.Generic, b.call,
				rotator.Event{Step: step, SecretID: secret, ClientRequestToken: newToken()})
			wantError(t, err, "InvalidSecret", "has no stage for rotation")
			if got := b.value(t, secret, "AWSCURRENT"); got != "value" {
				t.Errorf("AWSCURRENT = %s", got)
			}
		})
	}
	secret := b.create(t, "gone", "value")
	if _, err := b.client.DeleteSecret(t.Context(), &secretsmanager.DeleteSecretInput{SecretId: &secret, ForceDeleteWithoutRecovery: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	wantError(t, b.step(t.Context(), rotator.Generic, "createSecret", secret, newToken()), "ServiceError", "ResourceNotFoundException")
	// A version that is current already needs nothing.
	secret = b.create(t, "done", "value")
	out, err := b.client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		if err := b.step(t.Context(), rotator.Generic, step, secret, *out.VersionId); err != nil {
			t.Errorf("%s of the current version: %v", step, err)
		}
	}
}

func (b *bed) setDisabled(disabled bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.disabled = disabled
}

// TestConnections: TLS is verified, and egress rules hold.
func TestConnections(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, e.start(t))
			secret := b.create(t, "s", user(t, b.db, "app", nil))
			kind := e.single[0]
			token := newToken()
			if err := b.step(t.Context(), kind, "createSecret", secret, token); err != nil {
				t.Fatal(err)
			}
			good := b.egress
			for _, tc := range []struct {
				name, text string
				cfg        egress.Config
			}{
				{"an authority that is not known", "server certificate not trusted", egress.Config{AllowLoopback: true, RootCAs: x509.NewCertPool()}},
				{"an address that is not allowed", "address refused: 127.0.0.1 is loopback; the server's operator can allow it in the setting egress.allow", egress.Config{RootCAs: b.db.Roots}},
			} {
				b.egress = egress.New(tc.cfg)
				for _, step := range steps[1:] {
					wantError(t, b.step(t.Context(), kind, step, secret, token), "Unreachable", tc.text)
				}
			}
			b.egress = good

			// Without TLS only if the secret says so.
			for _, tc := range []struct {
				name, ssl string
				want      string // in the output
			}{
				{"true", `true`, ", with TLS"},
				{"text", `"TRUE"`, ", with TLS"},
				{"strange", `"maybe"`, ", with TLS"},
				{"number", `0`, ", with TLS"},
				{"null", `null`, ", with TLS"},
				{"false", `false`, ", without TLS"},
				{"text false", `"False"`, ", without TLS"},
			} {
				t.Run("ssl "+tc.name, func(t *testing.T) {
					value := strings.TrimSuffix(b.value(t, secret, "AWSCURRENT"), "}") + `, "ssl": ` + tc.ssl + "}"
					if tc.want == ", without TLS" && b.db.Engine == "redis" {
						value = strings.Replace(value, port(b.db.Port), port(b.db.PlainPort), 1)
					}
					if tc.want == ", without TLS" && b.db.Engine == "mariadb" {
						if _, err := b.db.MariaDB(t).ExecContext(t.Context(), "ALTER USER app@'%' REQUIRE NONE"); err != nil {
							t.Fatal(err)
						}
					}
					other, token := b.create(t, "ssl/"+newToken(), value), newToken()
					b.put(t, other, token, value, "AWSPENDING")
					b.clearOutput()
					if err := b.step(t.Context(), kind, "testSecret", other, token); err != nil {
						t.Fatal(err)
					}
					if said := b.said(); !strings.Contains(said, tc.want) {
						t.Errorf("output %q, want %q in it", said, tc.want)
					}
				})
			}
		})
	}
}

func (b *bed) clearOutput() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output.Reset()
}

// TestMaster: a superuser is used only for the server that his own secret is for, and
// only for somebody whose login works.
func TestMaster(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, e.start(t))
			kind := e.multi[0]
			super := func(more map[string]any) string {
				return b.create(t, "m/"+newToken(), b.db.Secret(b.db.User, b.db.Password, more))
			}
			good := super(nil)
			value := user(t, b.db, "app", map[string]any{"masterarn": good})
			for _, tc := range []struct {
				name, value   string
				errType, text string
			}{
				{"no masterarn", user(t, b.db, "nomaster", nil), "InvalidSecret", "masterarn key is missing"},
				{"another host", strings.Replace(value, good, super(map[string]any{"host": "localhost"}), 1), "InvalidSecret", "is not the same host as localhost"},
				{"another port", strings.Replace(value, good, super(map[string]any{"port": 7}), 1), "InvalidSecret", "is not the same host as"},
				{"another engine", strings.Replace(value, good, super(map[string]any{"engine": "oracle"}), 1), "InvalidSecret", "Database engine must be set to"},
				{"no value", strings.Replace(value, good, good[:len(good)-6]+"AAAAAA", 1), "ServiceError", "ResourceNotFoundException"},
				{"a wrong password", strings.Replace(value, good, super(map[string]any{"password": "wr0ng-master"}), 1), "LoginRefused", "Unable to log into database using credentials in master secret"},
				{"a wrong current password", strings.Replace(value, "first-password", "wr0ng-current", 1), "LoginRefused", "Unable to log into database using current credentials"},
			} {
				t.Run(tc.name, func(t *testing.T) {
					secret := b.create(t, "s/"+newToken(), tc.value)
					err := b.rotate(context.Background(), kind, secret)
					wantError(t, err, tc.errType, tc.text)
					if !strings.HasPrefix(err.Error(), "setSecret: ") {
						t.Errorf("error %v, want one of setSecret", err)
					}
					if got := b.value(t, secret, "AWSCURRENT"); got != tc.value {
						t.Errorf("AWSCURRENT = %s", got)
					}
				})
			}
			if said := b.said(); strings.Contains(said, "wr0ng") || strings.Contains(said, b.db.Password) {
				t.Errorf("a password is in the output:\n%s", said)
			}
			for _, made := range []string{`CREATE ROLE "app_clone"`, `CREATE USER 'app_clone'`} {
				if strings.Contains(serverLog(t, b.db), made) {
					t.Error("the server was asked to make the clone")
				}
			}
		})
	}
}
