package dbtest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Login logs in with the value of a secret, as a client would that knows nothing of
// rotation, and makes a simple request.
func (s *Server) Login(ctx context.Context, value string) error {
	var v struct{ Username, Password, Dbname string }
	if err := json.Unmarshal([]byte(value), &v); err != nil {
		return fmt.Errorf("read secret: %w", err)
	}
	switch s.Engine {
	case "postgres":
		cfg, err := pgx.ParseConfig("sslmode=verify-full sslrootcert=" + s.CAFile + " host=" + s.Host)
		if err != nil {
			return err
		}
		cfg.Port, cfg.User, cfg.Password, cfg.Database = uint16(s.Port), v.Username, v.Password, "postgres"
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	case "mariadb":
		conn, err := s.MariaDBAs(v.Username, v.Password, v.Dbname)
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.PingContext(ctx)
	default:
		conn := s.RedisAs(v.Username, v.Password)
		defer conn.Close()
		return conn.Ping(ctx).Err()
	}
}
