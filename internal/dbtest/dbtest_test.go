package dbtest_test

import (
	"strings"
	"testing"

	"arca/internal/dbtest"
)

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	s := dbtest.PostgreSQL(t)
	var secured bool
	if err := s.PostgreSQL(t, "postgres").QueryRow(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&secured); err != nil || !secured {
		t.Errorf("TLS in use: %v, %v", secured, err)
	}
	if log := s.Log(t); !strings.Contains(log, "pg_stat_ssl") {
		t.Errorf("the log does not show statements:\n%s", log)
	}
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	s := dbtest.MariaDB(t)
	var name, cipher string
	if err := s.MariaDB(t).QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher); err != nil || cipher == "" {
		t.Errorf("cipher %q, %v", cipher, err)
	}
	if log := s.Log(t); !strings.Contains(log, "SHOW STATUS") {
		t.Errorf("the log does not show statements:\n%s", log)
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	s := dbtest.Redis(t)
	if who, err := s.Redis(t).Do(t.Context(), "ACL", "WHOAMI").Text(); err != nil || who != s.User {
		t.Errorf("WHOAMI = %q, %v", who, err)
	}
	wrong := s.RedisAs(s.User, "wrong")
	defer wrong.Close()
	if err := wrong.Ping(t.Context()).Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password: %v", err)
	}
}
