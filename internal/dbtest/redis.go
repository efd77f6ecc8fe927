package dbtest

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Redis starts a Redis server that keeps its users in a file. Nobody gets in without
// a name.
func Redis(t testing.TB) *Server {
	t.Helper()
	s := newServer(t, "redis")
	s.write(t, "users.acl", []byte("user default off nopass -@all\nuser "+superUser+" on >"+superPassword+" ~* &* +@all\n"))
	s.start(t, func() []string {
		return []string{
			program(t, "redis-server"), "--bind", s.Host, "--port", strconv.Itoa(s.PlainPort), "--tls-port", strconv.Itoa(s.Port),
			"--tls-cert-file", s.path("cert.pem"), "--tls-key-file", s.path("key.pem"), "--tls-ca-cert-file", s.CAFile, "--tls-auth-clients", "no",
			"--dir", s.dir, "--aclfile", s.path("users.acl"), "--save", "", "--appendonly", "no",
			"--slowlog-log-slower-than", "0", "--slowlog-max-len", "10000",
		}
	}, func(ctx context.Context) error {
		// The library writes about what it cannot reach to the standard error.
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Host+":"+strconv.Itoa(s.Port))
		if err != nil {
			return err
		}
		_ = conn.Close()
		db := s.RedisAs(s.User, s.Password)
		defer db.Close()
		return db.Ping(ctx).Err()
	})
	return s
}

// UsersFile is where a Redis server keeps its users.
func (s *Server) UsersFile() string { return s.path("users.acl") }

// Redis connects to a Redis server as the superuser.
func (s *Server) Redis(t testing.TB) *redis.Client {
	t.Helper()
	db := s.RedisAs(s.User, s.Password)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// RedisAs prepares a connection as any user; nothing is sent yet.
func (s *Server) RedisAs(user, password string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: s.Host + ":" + strconv.Itoa(s.Port), Username: user, Password: password,
		TLSConfig: &tls.Config{RootCAs: s.Roots, ServerName: s.Host, MinVersion: tls.VersionTLS12},
		Protocol:  2, DisableIdentity: true, PoolSize: 1, MaxRetries: -1, DialerRetries: 1,
	})
}
