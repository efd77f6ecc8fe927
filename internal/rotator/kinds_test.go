package rotator_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/dbtest"
	"arca/internal/rotator"
)

// user makes a user of the database server who may do a little, and the value of a
// secret for him.
func user(t testing.TB, db *dbtest.Server, name string, more map[string]any) string {
	t.Helper()
	const first = "first-password"
	value := map[string]any{}
	switch db.Engine {
	case "postgres":
		conn := db.PostgreSQL(t, "postgres")
		for _, s := range []string{
			"CREATE ROLE " + name + " LOGIN PASSWORD '" + first + "'",
			"CREATE TABLE IF NOT EXISTS things (a int)",
			"GRANT SELECT ON things TO " + name,
		} {
			if _, err := conn.Exec(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	case "mariadb":
		conn := db.MariaDB(t)
		for _, s := range []string{
			"CREATE DATABASE IF NOT EXISTS `my ``things TO '`",
			"CREATE TABLE IF NOT EXISTS `my ``things TO '`.`t` (a int, b int)",
			"CREATE USER " + name + "@'%' IDENTIFIED BY '" + first + "' REQUIRE SSL WITH MAX_USER_CONNECTIONS 50",
			"CREATE USER " + name + "@'10.%' IDENTIFIED BY '" + first + "'",
			"GRANT SELECT, INSERT (a, b) ON `my ``things TO '`.`t` TO " + name + "@'%' WITH GRANT OPTION",
			"GRANT PROCESS ON *.* TO " + name + "@'%'",
			"GRANT SELECT ON `my ``things TO '`.* TO " + name + "@'10.%'",
			"CREATE ROLE IF NOT EXISTS reader",
			"GRANT reader TO " + name + "@'%'",
			"SET DEFAULT ROLE reader FOR " + name + "@'%'",
		} {
			if _, err := conn.ExecContext(t.Context(), s); err != nil {
				t.Fatal(s, err)
			}
		}
		value["dbname"] = "my `things TO '"
	case "redis":
		err := db.Redis(t).Do(t.Context(), "ACL", "SETUSER", name, "on", ">"+first, "~cached:*", "&news", "+get", "+set", "+ping", "(~other:* +get)").Err()
		if err != nil {
			t.Fatal(err)
		}
	}
	maps.Copy(value, more)
	return db.Secret(name, first, value)
}

// grants are what the database server lets a user do, without his name and password.
func grants(t testing.TB, db *dbtest.Server, name string) []string {
	t.Helper()
	var out []string
	switch db.Engine {
	case "postgres":
		var may bool
		conn := db.PostgreSQL(t, "postgres")
		defer conn.Close(t.Context())
		if err := conn.QueryRow(t.Context(), "SELECT has_table_privilege($1, 'things', 'SELECT')", name).Scan(&may); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(may))
	case "mariadb":
		conn := db.MariaDB(t)
		defer conn.Close()
		for _, host := range []string{"%", "10.%"} {
			rows, err := conn.QueryContext(t.Context(), "SHOW GRANTS FOR '"+name+"'@'"+host+"'")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var row string
				if err := rows.Scan(&row); err != nil {
					t.Fatal(err)
				}
				before, after, found := strings.Cut(row, "IDENTIFIED BY PASSWORD '")
				if found {
					row = before + after[strings.Index(after, "'"):]
				}
				out = append(out, strings.ReplaceAll(row, "`"+name+"`", "NAME"))
			}
		}
		slices.Sort(out)
	case "redis":
		list, err := db.Redis(t).Do(t.Context(), "ACL", "LIST").StringSlice()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range list {
			fields := strings.Fields(line)
			if fields[1] == name {
				out = slices.DeleteFunc(fields[2:], func(f string) bool { return f == "sanitize-payload" || strings.HasPrefix(f, "#") })
			}
		}
	}
	return out
}

// engines are the servers and the kinds of rotators for them. MySQL's speak to MariaDB
// here, which is the closest that there is to MySQL among Debian's packages.
var engines = []struct {
	name          string
	start         func(testing.TB) *dbtest.Server
	single, multi []string
	engine        map[string]string // the word for the engine in secrets, by kind
}{
	{"PostgreSQL", dbtest.PostgreSQL, []string{rotator.PostgreSQLSingleUser}, []string{rotator.PostgreSQLMultiUser}, nil},
	{
		"MariaDB", dbtest.MariaDB,
		[]string{rotator.MariaDBSingleUser, rotator.MySQLSingleUser},
		[]string{rotator.MariaDBMultiUser, rotator.MySQLMultiUser},
		map[string]string{rotator.MySQLSingleUser: "mysql", rotator.MySQLMultiUser: "mysql"},
	},
	{"Redis", dbtest.Redis, []string{rotator.RedisSingleUser}, []string{rotator.RedisMultiUser}, nil},
}

// TestKinds rotates a user several times with each rotator, and looks each time who can
// log in.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, e.start(t))
			var secrets []string // whatever must be in nobody's output
			n := 0
			next := func(kind string, more map[string]any) (name, secret string) {
				n++
				name = fmt.Sprintf("user%d", n)
				if word, ok := e.engine[kind]; ok {
					more["engine"] = word
				}
				return name, b.create(t, name, user(t, b.db, name, more))
			}
			master := b.create(t, "master", b.db.Secret(b.db.User, b.db.Password, nil))
			mysqlMaster := b.create(t, "mysql-master", b.db.Secret(b.db.User, b.db.Password, map[string]any{"engine": "mysql"}))
			masterOf := func(kind string) string {
				if e.engine[kind] == "mysql" {
					return mysqlMaster
				}
				return master
			}
			for _, kind := range e.single {
				t.Run(kind, func(t *testing.T) {
					more := map[string]any{"note": "stays"}
					if kind == rotator.RedisSingleUser {
						more["masterarn"] = masterOf(kind)
					}
					name, secret := next(kind, more)
					for range 3 {
						before := b.value(t, secret, "AWSCURRENT")
						if err := b.rotate(t.Context(), kind, secret); err != nil {
							t.Fatal(err)
						}
						after := b.value(t, secret, "AWSCURRENT")
						secrets = append(secrets, password(t, before), password(t, after))
						if err := login(t.Context(), b.db, after); err != nil {
							t.Fatalf("the current version does not log in: %v", err)
						}
						if err := login(t.Context(), b.db, before); err == nil {
							t.Errorf("the former version still logs in")
						}
						if got := member(t, after, "username"); got != name {
							t.Errorf("username = %q, want %q", got, name)
						}
						if got := member(t, after, "note"); got != "stays" {
							t.Errorf("note = %q", got)
						}
					}
				})
			}
			for _, kind := range e.multi {
				t.Run(kind, func(t *testing.T) {
					name, secret := next(kind, map[string]any{"masterarn": masterOf(kind)})
					for i := range 4 {
						before := b.value(t, secret, "AWSCURRENT")
						if err := b.rotate(t.Context(), kind, secret); err != nil {
							t.Fatal(err)
						}
						after := b.value(t, secret, "AWSCURRENT")
						secrets = append(secrets, password(t, before), password(t, after))
						for label, value := range map[string]string{"current": after, "previous": before} {
							if err := login(t.Context(), b.db, value); err != nil {
								t.Fatalf("the %s version does not log in: %v", label, err)
							}
						}
						want := []string{name + "_clone", name}[i%2]
						if got := member(t, after, "username"); got != want {
							t.Errorf("username = %q, want %q", got, want)
						}
						if diff := cmp.Diff(grants(t, b.db, name), grants(t, b.db, name+"_clone")); diff != "" {
							t.Errorf("the two users may not do the same (-first +second):\n%s", diff)
						}
					}
				})
			}
			said := b.said() + serverLog(t, b.db)
			for _, s := range append(secrets, b.db.Password) {
				if strings.Contains(said, s) && s != "first-password" && s != b.db.Password {
					t.Errorf("password %q is in a log", s)
				}
				if strings.Contains(b.said(), s) {
					t.Errorf("password %q is in a rotator's output", s)
				}
			}
		})
	}
}

// serverLog is what the server wrote of what it was asked.
func serverLog(t testing.TB, db *dbtest.Server) string {
	t.Helper()
	if db.Engine != "redis" {
		return db.Log(t)
	}
	entries, err := db.Redis(t).SlowLogGet(t.Context(), 10000).Result()
	if err != nil {
		t.Fatal(err)
	}
	users, err := os.ReadFile(db.UsersFile())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(entries) + string(users)
}

// TestOwnRedisUser rotates a user of Redis who may change users himself.
func TestOwnRedisUser(t *testing.T) {
	t.Parallel()
	b := newBed(t, dbtest.Redis(t))
	if err := b.db.Redis(t).Do(t.Context(), "ACL", "SETUSER", "own", "on", ">first-password", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	secret := b.create(t, "own", b.db.Secret("own", "first-password", nil))
	ctx := context.Background()
	token := newToken()
	for _, step := range steps {
		if err := b.step(ctx, rotator.RedisSingleUser, step, secret, token); err != nil {
			t.Fatal(step, err)
		}
		// The current version works at any time.
		if err := login(ctx, b.db, b.value(t, secret, "AWSCURRENT")); err != nil {
			t.Errorf("after %s the current version does not log in: %v", step, err)
		}
	}
	if err := login(ctx, b.db, b.value(t, secret, "AWSPREVIOUS")); err == nil {
		t.Error("the former password still works")
	}
	users, err := os.ReadFile(b.db.UsersFile())
	if err != nil || !strings.Contains(string(users), "user own ") {
		t.Errorf("the server's file of users: %s, %v", users, err)
	}
}
