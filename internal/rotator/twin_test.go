package rotator_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"arca/internal/dbtest"
	"arca/internal/rotator"
)

// attempt rotates the secret of a user who has a login and wants somebody else's: he
// wrote whatever he likes into his secret. The other one's login must stay as it was.
func attempt(t *testing.T, b *bed, kind, name, victim, text string) {
	t.Helper()
	const first = "first-password"
	master := b.create(t, "m/"+newToken(), b.db.Secret(b.db.User, b.db.Password, nil))
	secret := b.create(t, "s/"+newToken(), b.db.Secret(name, first, map[string]any{"masterarn": master}))
	wantError(t, b.rotate(t.Context(), kind, secret), rotator.DatabaseError, text)
	if err := login(t.Context(), b.db, b.db.Secret(victim, "victims-password", nil)); err != nil {
		t.Errorf("%s cannot log in any more: %v", victim, err)
	}
	if err := login(t.Context(), b.db, b.value(t, secret, "AWSCURRENT")); err != nil {
		t.Errorf("%s cannot log in any more: %v", name, err)
	}
}

// TestTwinPostgreSQL: a name that ends in _clone gives nobody the other one's login.
func TestTwinPostgreSQL(t *testing.T) {
	t.Parallel()
	b := newBed(t, dbtest.PostgreSQL(t))
	conn := b.db.PostgreSQL(t, "postgres")
	do := func(t *testing.T, statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := conn.Exec(t.Context(), s); err != nil {
				t.Fatal(s, err)
			}
		}
	}
	const login, victim = " LOGIN PASSWORD 'first-password'", " LOGIN PASSWORD 'victims-password'"
	for _, tc := range []struct {
		name         string
		prepare      []string
		user, victim string
		text         string
	}{
		{"a superuser's clone in name", []string{"CREATE ROLE boss SUPERUSER" + victim, "CREATE ROLE boss_clone" + login}, "boss_clone", "boss", "is not a member of"},
		{"somebody's clone in name", []string{"CREATE ROLE other" + victim, "CREATE ROLE other_clone" + login}, "other_clone", "other", "is not a member of"},
		{"a clone of one's own name", []string{"CREATE ROLE mine" + login, "CREATE ROLE mine_clone CREATEROLE" + victim}, "mine", "mine_clone", "is not a member of"},
		{"a member with more power", []string{"CREATE ROLE team" + login, "CREATE ROLE team_clone SUPERUSER" + victim, "GRANT team TO team_clone"}, "team", "team_clone", "more power"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			do(t, tc.prepare...)
			attempt(t, b, rotator.PostgreSQLMultiUser, tc.user, tc.victim, tc.text)
		})
	}
	t.Run("a group", func(t *testing.T) {
		do(t, "CREATE ROLE grp NOLOGIN", "CREATE ROLE grp_clone"+login, "GRANT grp TO grp_clone")
		master := b.create(t, "group-master", b.db.Secret(b.db.User, b.db.Password, nil))
		secret := b.create(t, "group", b.db.Secret("grp_clone", "first-password", map[string]any{"masterarn": master}))
		wantError(t, b.rotate(t.Context(), rotator.PostgreSQLMultiUser, secret), rotator.DatabaseError, "may not log in")
	})
	t.Run("the superuser himself", func(t *testing.T) {
		do(t, "CREATE ROLE super_clone"+login)
		master := b.create(t, "own-master", b.db.Secret(b.db.User, b.db.Password, nil))
		secret := b.create(t, "own", b.db.Secret("super_clone", "first-password", map[string]any{"masterarn": master}))
		wantError(t, b.rotate(t.Context(), rotator.PostgreSQLMultiUser, secret), rotator.InvalidSecret, "one of the two users to alternate")
	})
	t.Run("a pair made by hand", func(t *testing.T) {
		do(t, "CREATE ROLE pair CREATEDB"+login, "CREATE ROLE pair_clone"+login, "GRANT pair TO pair_clone")
		master := b.create(t, "pair-master", b.db.Secret(b.db.User, b.db.Password, nil))
		secret := b.create(t, "pair", b.db.Secret("pair_clone", "first-password", map[string]any{"masterarn": master}))
		for range 2 {
			if err := b.rotate(t.Context(), rotator.PostgreSQLMultiUser, secret); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("traps on the superuser's way", func(t *testing.T) {
		// What the owner of a database can do to those who come there: functions and
		// operators of his own, and a search path that finds them first.
		do(t, "CREATE ROLE trapper"+login, "CREATE DATABASE traps OWNER trapper")
		trap := b.db.PostgreSQL(t, "traps")
		for _, s := range []string{
			"CREATE FUNCTION public.current_setting(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE 'ALTER ROLE trapper SUPERUSER'; RETURN 'scram-sha-256'; END$$",
			"CREATE FUNCTION public.current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS $$BEGIN EXECUTE 'ALTER ROLE trapper SUPERUSER'; RETURN '4096'; END$$",
			"ALTER DATABASE traps SET search_path = public, pg_catalog",
		} {
			if _, err := trap.Exec(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		master := b.create(t, "trap-master", b.db.Secret(b.db.User, b.db.Password, map[string]any{"dbname": "traps"}))
		secret := b.create(t, "trap", b.db.Secret("trapper", "first-password", map[string]any{"masterarn": master, "dbname": "traps"}))
		if err := b.rotate(t.Context(), rotator.PostgreSQLMultiUser, secret); err != nil {
			t.Fatal(err)
		}
		var super bool
		if err := conn.QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = 'trapper'").Scan(&super); err != nil || super {
			t.Errorf("the trap worked: %v, %v", super, err)
		}
	})
	t.Run("names", func(t *testing.T) {
		for _, name := range []string{`a"; ALTER ROLE super NOLOGIN; --`, `it's`, `back\slash`, "two words", "ünïcode", `%s$1?`, "UPPER"} {
			quoted := pgx.Identifier{name}.Sanitize()
			do(t, "CREATE ROLE "+quoted+login)
			master := b.create(t, "m/"+newToken(), b.db.Secret(b.db.User, b.db.Password, nil))
			for _, kind := range []string{rotator.PostgreSQLSingleUser, rotator.PostgreSQLMultiUser} {
				secret := b.create(t, "s/"+newToken(), b.db.Secret(name, "first-password", map[string]any{"masterarn": master}))
				for range 2 {
					if err := b.rotate(t.Context(), kind, secret); err != nil {
						t.Fatalf("%s for %q: %v", kind, name, err)
					}
				}
				do(t, "ALTER ROLE "+quoted+" PASSWORD 'first-password'")
			}
		}
	})
	t.Run("a password that the server keeps as MD5", func(t *testing.T) {
		do(t, "CREATE ROLE "+dbtest.LegacyUser+login, "ALTER ROLE "+dbtest.LegacyUser+" SET password_encryption = md5")
		secret := b.create(t, "legacy", b.db.Secret(dbtest.LegacyUser, "first-password", nil))
		if err := b.rotate(t.Context(), rotator.PostgreSQLSingleUser, secret); err != nil {
			t.Fatal(err)
		}
		var kept string
		if err := conn.QueryRow(t.Context(), "SELECT left(rolpassword, 3) FROM pg_authid WHERE rolname = $1", dbtest.LegacyUser).Scan(&kept); err != nil || kept != "md5" {
			t.Errorf("kept as %q, %v", kept, err)
		}
	})
	t.Run("a new password that does not work", func(t *testing.T) {
		// The server keeps an MD5 hash and accepts only SCRAM: the former password has to
		// come back. It comes back as MD5, too, so what works is looked for in the text.
		do(t, "CREATE ROLE stuck"+login, "ALTER ROLE stuck SET password_encryption = md5")
		secret := b.create(t, "stuck", b.db.Secret("stuck", "first-password", nil))
		wantError(t, b.rotate(t.Context(), rotator.PostgreSQLSingleUser, secret), rotator.LoginRefused, "the former one is in place again")
	})
	t.Run("acting as somebody else by default", func(t *testing.T) {
		do(t, "CREATE ROLE owners NOLOGIN", "CREATE ROLE dev"+login, "GRANT owners TO dev", "ALTER ROLE dev SET role = owners")
		secret := b.create(t, "dev", b.db.Secret("dev", "first-password", nil))
		if err := b.rotate(t.Context(), rotator.PostgreSQLSingleUser, secret); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTwinMariaDB is the same for MariaDB.
func TestTwinMariaDB(t *testing.T) {
	t.Parallel()
	b := newBed(t, dbtest.MariaDB(t))
	conn := b.db.MariaDB(t)
	do := func(t *testing.T, statements ...string) {
		t.Helper()
		for _, s := range statements {
			if _, err := conn.ExecContext(t.Context(), s); err != nil {
				t.Fatal(s, err)
			}
		}
	}
	const login, victim = "@'%' IDENTIFIED BY 'first-password'", "@'%' IDENTIFIED BY 'victims-password'"
	do(t, "CREATE DATABASE things", "CREATE ROLE strong")
	for _, tc := range []struct {
		name         string
		prepare      []string
		user, victim string
		text         string
	}{
		{"a superuser's clone in name", []string{"CREATE USER boss" + victim, "GRANT ALL ON *.* TO boss@'%' WITH GRANT OPTION", "CREATE USER boss_clone" + login}, "boss_clone", "boss", "may do what"},
		{"a clone with more power", []string{"CREATE USER mine" + login, "CREATE USER mine_clone" + victim, "GRANT CREATE USER ON *.* TO mine_clone@'%'"}, "mine", "mine_clone", "may do what"},
		{"one who may write the system tables", []string{"CREATE USER sys" + victim, "GRANT UPDATE ON mysql.* TO sys@'%'", "CREATE USER sys_clone" + login}, "sys_clone", "sys", "UPDATE on mysql"},
		{"one who may write one system table", []string{"CREATE USER tab" + victim, "GRANT UPDATE ON mysql.global_priv TO tab@'%'", "CREATE USER tab_clone" + login}, "tab_clone", "tab", "UPDATE on mysql.global_priv"},
		{"one who has a role", []string{"CREATE USER rol" + victim, "GRANT strong TO rol@'%'", "CREATE USER rol_clone" + login}, "rol_clone", "rol", "role `strong`"},
		{"power at another host", []string{"CREATE USER far" + victim, "CREATE USER far@'10.%' IDENTIFIED BY 'x'", "GRANT SUPER ON *.* TO far@'10.%'", "CREATE USER far_clone" + login}, "far_clone", "far", "may do what"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			do(t, tc.prepare...)
			attempt(t, b, rotator.MariaDBMultiUser, tc.user, tc.victim, tc.text)
		})
	}
	t.Run("names", func(t *testing.T) {
		for _, name := range []string{`a'@'%' IDENTIFIED BY ''; DROP USER super; --`, "it's", `"double"`, `back\slash`, "`tick`", "two words", "ünïcode", "%s?"} {
			quoted := rotator.QuoteMySQL(name)
			do(t, "CREATE USER "+quoted+login, "GRANT SELECT ON things.* TO "+quoted+"@'%'")
			master := b.create(t, "m/"+newToken(), b.db.Secret(b.db.User, b.db.Password, nil))
			for _, kind := range []string{rotator.MariaDBSingleUser, rotator.MariaDBMultiUser} {
				secret := b.create(t, "s/"+newToken(), b.db.Secret(name, "first-password", map[string]any{"masterarn": master, "dbname": "things"}))
				for range 2 {
					if err := b.rotate(t.Context(), kind, secret); err != nil {
						t.Fatalf("%s for %q: %v", kind, name, err)
					}
				}
				do(t, "SET PASSWORD FOR "+quoted+"@'%' = PASSWORD('first-password')")
			}
		}
	})
	t.Run("other plugins", func(t *testing.T) {
		do(t, "CREATE USER several@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('first-password') OR unix_socket",
			"CREATE USER socket@'%' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('first-password')")
		secret := b.create(t, "several", b.db.Secret("several", "first-password", nil))
		for range 2 {
			if err := b.rotate(t.Context(), rotator.MariaDBSingleUser, secret); err != nil {
				t.Fatal(err)
			}
		}
		secret = b.create(t, "socket", b.db.Secret("socket", "first-password", nil))
		wantError(t, b.rotate(t.Context(), rotator.MariaDBSingleUser, secret), rotator.DatabaseError, "a way to log in that has no password")
	})
	t.Run("more rights are copied each time", func(t *testing.T) {
		do(t, "CREATE DATABASE more", "CREATE USER grow"+login)
		master := b.create(t, "grow-master", b.db.Secret(b.db.User, b.db.Password, nil))
		secret := b.create(t, "grow", b.db.Secret("grow", "first-password", map[string]any{"masterarn": master}))
		for _, statement := range []string{"GRANT SELECT ON things.* TO grow@'%'", "GRANT SELECT ON more.* TO grow_clone@'%'"} {
			do(t, statement)
			if err := b.rotate(t.Context(), rotator.MariaDBMultiUser, secret); err != nil {
				t.Fatal(err)
			}
		}
		value := b.value(t, secret, "AWSCURRENT")
		db, err := b.db.MariaDBAs(member(t, value, "username"), password(t, value), "more")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("the first user did not get what the clone was granted: %v", err)
		}
	})
}

// TestTwinRedis is the same for Redis.
func TestTwinRedis(t *testing.T) {
	t.Parallel()
	b := newBed(t, dbtest.Redis(t))
	db := b.db.Redis(t)
	do := func(t *testing.T, args ...any) {
		t.Helper()
		if err := db.Do(t.Context(), append([]any{"ACL", "SETUSER"}, args...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	do(t, "boss", "on", ">victims-password", "+@all", "~*")
	do(t, "boss_clone", "on", ">first-password", "+get", "+ping", "~mine:*")
	attempt(t, b, rotator.RedisMultiUser, "boss_clone", "boss", "other rules")

	// A password that a broken rotation or a person left behind ends with the next one.
	do(t, "app", "on", ">first-password", ">left-behind", "+get", "+ping")
	master := b.create(t, "master", b.db.Secret(b.db.User, b.db.Password, nil))
	secret := b.create(t, "app", b.db.Secret("app", "first-password", map[string]any{"masterarn": master}))
	if err := b.rotate(t.Context(), rotator.RedisSingleUser, secret); err != nil {
		t.Fatal(err)
	}
	if err := login(t.Context(), b.db, b.db.Secret("app", "left-behind", nil)); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("the password that was left behind: %v", err)
	}
	// Nor may a user be without one.
	do(t, "open", "on", "nopass", "+get", "+ping")
	secret = b.create(t, "open", b.db.Secret("open", "anything", map[string]any{"masterarn": master}))
	if err := b.rotate(t.Context(), rotator.RedisSingleUser, secret); err != nil {
		t.Fatal(err)
	}
	if err := login(t.Context(), b.db, b.db.Secret("open", "whatever", nil)); err == nil {
		t.Error("the user still needs no password")
	}
}
