package dbtest

import (
	"context"
	"net/url"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
)

// LegacyUser is the only one, with his clone, whose password a PostgreSQL server takes
// as an MD5 hash.
const LegacyUser = "legacy"

// PostgreSQL starts a PostgreSQL server whose log holds every statement.
func PostgreSQL(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "postgres")
	bin := "/usr/lib/postgresql/*/bin"
	s.write(t, "pw", []byte(superPassword))
	s.run(t, program(t, "initdb", bin), "--pgdata", s.path("data"), "--username", superUser, "--pwfile", s.path("pw"),
		"--auth", "scram-sha-256", "--no-sync", "--no-instructions", "--locale", "C", "--encoding", "UTF8")
	s.write(t, "hba.conf", []byte("host all "+LegacyUser+","+LegacyUser+"_clone 127.0.0.1/32 md5\nhost all all 127.0.0.1/32 scram-sha-256\n"))
	s.start(t, func() []string {
		return []string{
			program(t, "postgres", bin), "-D", s.path("data"), "-p", strconv.Itoa(s.Port),
			"-c", "hba_file=" + s.path("hba.conf"),
			"-c", "listen_addresses=" + s.Host, "-c", "unix_socket_directories=",
			"-c", "ssl=on", "-c", "ssl_cert_file=" + s.path("cert.pem"), "-c", "ssl_key_file=" + s.path("key.pem"),
			"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "log_statement=all", "-c", "log_min_duration_statement=0",
		}
	}, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, s.url("postgres"))
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
	return s
}

func (s *Server) url(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(s.User, s.Password), Host: s.Host + ":" + strconv.Itoa(s.Port), Path: database,
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {s.CAFile}}.Encode(),
	}
	return u.String()
}

// PostgreSQL connects to a database of a PostgreSQL server as the superuser.
func (s *Server) PostgreSQL(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url(database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}
