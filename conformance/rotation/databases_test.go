package rotation_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/dbtest"
)

const firstPassword = "the-first-Pw4711"

// addUser makes a database user with firstPassword.
func addUser(t *testing.T, db *dbtest.Server, name string) {
	t.Helper()
	var err error
	switch db.Engine {
	case "postgres":
		_, err = db.PostgreSQL(t, "postgres").Exec(t.Context(), "CREATE ROLE "+name+" LOGIN PASSWORD '"+firstPassword+"'")
	case "mariadb":
		_, err = db.MariaDB(t).ExecContext(t.Context(), "CREATE USER "+name+"@'%' IDENTIFIED BY '"+firstPassword+"'")
	default:
		err = db.Redis(t).Do(t.Context(), "ACL", "SETUSER", name, "on", ">"+firstPassword, "~cached:*", "+get", "+ping").Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reader is a client that reads the secret and logs in, again and again.
type reader struct {
	k   *kit
	db  *dbtest.Server
	arn string
	// refused is asked about each login that fails, with the version that was used.
	refused func(version, value string, err error)

	mu     sync.Mutex
	logins int // guarded by mu
}

// run reads until ctx ends.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil {
		out, err := r.k.SM.GetSecretValue(context.WithoutCancel(ctx), &secretsmanager.GetSecretValueInput{SecretId: &r.arn})
		if err != nil {
			r.k.T.Errorf("GetSecretValue: %v", err)
			return
		}
		// Nobody is quicker than this to use what was read.
		time.Sleep(2 * time.Millisecond)
		value := aws.ToString(out.SecretString)
		if err := r.db.Login(context.WithoutCancel(ctx), value); err != nil {
			r.refused(aws.ToString(out.VersionId), value, err)
		}
		r.mu.Lock()
		r.logins++
		r.mu.Unlock()
	}
}

// rotations is how many are made while a client logs in all the time.
func rotations() int {
	switch {
	case *long:
		return 50
	case testing.Short():
		return 3
	}
	return 12
}

var databases = []struct {
	name, kind string
	start      func(testing.TB) *dbtest.Server
}{
	{"PostgreSQL", "RDSPostgreSQL", dbtest.PostgreSQL},
	{"MariaDB", "RDSMariaDB", dbtest.MariaDB},
	{"Redis", "Redis", dbtest.Redis},
}

// TestAlternatingUsers: a client that reads the secret and logs in is never refused, and
// what may do so are a function's role and nobody else.
func TestAlternatingUsers(t *testing.T) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			db := d.start(t)
			k := ownKit(t, "--egress-ca-file", db.CAFile)
			addUser(t, db, "app")
			_, master := k.Secret(k.Caller, "master", db.Secret(db.User, db.Password, nil))
			_, secret := k.Secret(k.Caller, "app", db.Secret("app", firstPassword, map[string]any{"masterarn": master}))
			function := k.function("alternate", k.rotatorRole("alternate", []string{secret}, master), builtIn("SecretsManager"+d.kind+"RotationMultiUser"))
			users := map[string]bool{}
			r := &reader{k: k, db: db, arn: secret, refused: func(version, _ string, err error) {
				t.Errorf("a login with version %s fails: %v", version, err)
			}}
			ctx, stop := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			readers.Go(func() { r.run(ctx) })
			defer readers.Wait()
			defer stop()
			for i := range rotations() {
				k.rotated(secret, k.rotate(secret, by(function)))
				value := k.value(secret, "AWSCURRENT")
				users[member(t, value, "username")] = true
				if i%5 != 0 {
					continue
				}
				if err := db.Login(t.Context(), k.value(secret, "AWSPREVIOUS")); err != nil {
					t.Errorf("the user of before cannot log in any more: %v", err)
				}
			}
			stop()
			readers.Wait()
			if len(users) != 2 || !users["app"] || !users["app_clone"] {
				t.Errorf("users were %v, want app and app_clone", users)
			}
			t.Logf("%d rotations, %d logins", rotations(), r.logins)
		})
	}
}

// TestSingleUser: the one user's old password ends in setSecret, and AWSCURRENT names the
// new one from finishSecret on. A client that is refused in between reads the secret again.
func TestSingleUser(t *testing.T) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			db := d.start(t)
			k := ownKit(t, "--egress-ca-file", db.CAFile)
			addUser(t, db, "app")
			_, master := k.Secret(k.Caller, "master", db.Secret(db.User, db.Password, nil))
			members := map[string]any{}
			if d.name == "Redis" {
				members["masterarn"] = master // its users may not change themselves
			}
			_, secret := k.Secret(k.Caller, "app", db.Secret("app", firstPassword, members))
			function := k.function("single", k.rotatorRole("single", []string{secret}, master), builtIn("SecretsManager"+d.kind+"RotationSingleUser"))
			windows := 0
			r := &reader{k: k, db: db, arn: secret, refused: func(version, value string, _ error) {
				windows++
				// Either its version is not the current one any more, or a rotation is in
				// setSecret or later.
				begin := time.Now()
				for {
					stages := k.describe(secret).VersionIdsToStages
					current := strings.Contains(strings.Join(stages[version], " "), "AWSCURRENT")
					if !current {
						return
					}
					pending := false
					for v, labels := range stages {
						pending = pending || v != version && strings.Contains(strings.Join(labels, " "), "AWSPENDING")
					}
					if !pending || time.Since(begin) > patience {
						if err := db.Login(t.Context(), value); err != nil {
							t.Errorf("a login fails while no rotation is under way: %v", err)
						}
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
			}}
			ctx, stop := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			readers.Go(func() { r.run(ctx) })
			defer readers.Wait()
			defer stop()
			for range min(rotations(), 10) {
				k.rotated(secret, k.rotate(secret, by(function)))
				if err := db.Login(t.Context(), k.value(secret, "AWSCURRENT")); err != nil {
					t.Errorf("login after a rotation: %v", err)
				}
				if d.name == "Redis" {
					continue
				}
				if db.Login(t.Context(), k.value(secret, "AWSPREVIOUS")) == nil {
					t.Error("the password of before still lets in")
				}
			}
			stop()
			readers.Wait()
			t.Logf("%d logins, %d of them in the window", r.logins, windows)
		})
	}
}

// member is a text in a secret's value.
func member(t *testing.T, value, name string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		t.Fatal(err)
	}
	text, _ := v[name].(string)
	return text
}
