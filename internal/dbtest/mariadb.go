package dbtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// MariaDB starts a MariaDB server whose log holds every statement.
func MariaDB(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "mariadb")
	s.bootstrapMariaDB(t)
	s.start(t, func() []string {
		return []string{
			program(t, "mariadbd", "/usr/sbin"), "--no-defaults", "--datadir=" + s.path("data"), "--socket=" + s.path("socket"),
			"--pid-file=" + s.path("pid"), "--port=" + strconv.Itoa(s.Port), "--bind-address=" + s.Host, "--skip-name-resolve",
			"--ssl-ca=" + s.CAFile, "--ssl-cert=" + s.path("cert.pem"), "--ssl-key=" + s.path("key.pem"),
			"--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
			"--general-log=1", "--general-log-file=" + s.path("statements"), "--tmpdir=" + s.dir,
		}
	}, func(ctx context.Context) error {
		cfg := mysql.NewConfig()
		cfg.User, cfg.Net, cfg.Addr, cfg.Logger = "root", "unix", s.path("socket"), &mysql.NopLogger{}
		db, err := open(cfg)
		if err != nil {
			return err
		}
		defer db.Close()
		for _, statement := range []string{
			"CREATE OR REPLACE USER '" + superUser + "'@'%' IDENTIFIED BY '" + superPassword + "'",
			"GRANT ALL ON *.* TO '" + superUser + "'@'%' WITH GRANT OPTION",
		} {
			if _, err := db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	// What errors go to is of less use than what it was asked.
	s.LogFile = s.path("statements")
	return s
}

// bootstrapMariaDB makes the system tables, as mariadb-install-db does, which needs
// programs of further packages.
func (s *Server) bootstrapMariaDB(t testing.TB) {
	t.Helper()
	script := bytes.NewBufferString("CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n")
	for _, name := range []string{"system_tables", "performance_tables", "system_tables_data"} {
		found, err := filepath.Glob("/usr/share/m*/m*_" + name + ".sql") // mysql or mariadb, by version
		if err != nil || len(found) != 1 {
			t.Fatalf("%s.sql: found %v, %v; scripts/test-deps.sh installs it", name, found, err)
		}
		text, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		script.Write(text)
	}
	data := s.path("data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	s.own(t, data)
	cmd := s.command(program(t, "mariadbd", "/usr/sbin"), "--no-defaults", "--bootstrap", "--datadir="+data, "--tmpdir="+s.dir,
		"--innodb-log-file-size=8M", "--innodb-flush-method=nosync", "--net-buffer-length=16K")
	cmd.Stdin = script
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mariadbd: %v\n%s", err, out)
	}
}

func open(cfg *mysql.Config) (*sql.DB, error) {
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// MariaDB connects to a MariaDB server as the superuser.
func (s *Server) MariaDB(t testing.TB) *sql.DB {
	t.Helper()
	db, err := s.MariaDBAs(s.User, s.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// MariaDBAs prepares a connection as any user; nothing is sent yet.
func (s *Server) MariaDBAs(user, password, database string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = user, password, database
	cfg.Net, cfg.Addr = "tcp", s.Host+":"+strconv.Itoa(s.Port)
	cfg.TLS = &tls.Config{RootCAs: s.Roots, ServerName: s.Host, MinVersion: tls.VersionTLS12}
	cfg.Logger = &mysql.NopLogger{}
	return open(cfg)
}
