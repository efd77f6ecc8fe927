package rotator

import (
	"context"
	"crypto/rand"
	"crypto/sha1" // what mysql_native_password stores
	"database/sql"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// mysqlSession is a login to MySQL or MariaDB. Which of the two it is decides the
// server, not the secret: they differ in how a password is set.
type mysqlSession struct {
	db      *sql.DB
	conn    *sql.Conn
	mariaDB bool
}

// maxMySQLPacket bounds one statement and one row.
const maxMySQLPacket = 1 << 20

func openMySQL(ctx context.Context, r *rotation, c *credential) (session, error) {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = c.username, c.password, c.database
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(c.host, "0") // dial knows better
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return r.dial(ctx, c) }
	if !c.plain {
		cfg.TLS = r.cfg.Egress.TLS(c.host)
	}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = loginTimeout, sessionTimeout, sessionTimeout
	cfg.MaxAllowedPacket, cfg.Logger = maxMySQLPacket, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	s := &mysqlSession{db: sql.OpenDB(connector)}
	if s.conn, err = s.db.Conn(ctx); err != nil {
		_ = s.db.Close()
		return nil, mysqlLoginError(err)
	}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// prepare finds out what the server is and how it reads literals.
func (s *mysqlSession) prepare(ctx context.Context) error {
	var version, mode string
	if err := s.exec(ctx, "SET SESSION sql_mode = '', sql_quote_show_create = 1"); err != nil {
		return err
	}
	if err := s.conn.QueryRowContext(ctx, "SELECT VERSION(), @@SESSION.sql_mode").Scan(&version, &mode); err != nil {
		return mysqlError(err)
	}
	if mode != "" { // quoteMySQL is right only then
		return errorf(DatabaseError, "the server does not take the SQL mode that it is given")
	}
	s.mariaDB = strings.Contains(version, "MariaDB")
	return nil
}

func mysqlLoginError(err error) error {
	refusal, ok := errors.AsType[*mysql.MySQLError](err)
	switch {
	case ok && slices.Contains([]uint16{
		1045, 1698, // wrong name or password
		1044,       // no rights in the database
		1820, 1862, // the password has expired
		3118, 4151, // locked
	}, refusal.Number):
		return errorf(LoginRefused, "the server says: %s (%d)", refusal.Message, refusal.Number)
	case ok:
		return errorf(DatabaseError, "the server says: %s (%d)", refusal.Message, refusal.Number)
	case errors.Is(err, mysql.ErrNoTLS):
		return errNoTLS
	}
	return err
}

// mysqlError keeps the number of an error alone: the server's text repeats the
// statement, and with it what could be somebody's hash. What operators will meet is said
// in words of our own.
func mysqlError(err error) error {
	refusal, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return err
	}
	why := ""
	switch refusal.Number {
	case 1044, 1142, 1227, 1396:
		why = ": the user has not the right to, or there is no such user"
	case 1290:
		why = ": it is read-only, or started with an option against that"
	case 1699:
		why = ": the account has a way to log in that has no password"
	case 1819:
		why = ": its rules for passwords ask for more"
	}
	return errorf(DatabaseError, "the server refuses a statement: error %d (%s)%s", refusal.Number, refusal.SQLState[:], why)
}

func (s *mysqlSession) exec(ctx context.Context, statement string) error {
	_, err := s.conn.ExecContext(ctx, statement)
	return mysqlError(err)
}

// column runs a query for one column.
func (s *mysqlSession) column(ctx context.Context, query string) ([]string, error) {
	rows, err := s.conn.QueryContext(ctx, query)
	if err != nil {
		return nil, mysqlError(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, mysqlError(err)
		}
		out = append(out, v)
	}
	return out, mysqlError(rows.Err())
}

func (s *mysqlSession) close() {
	_ = s.conn.Close()
	_ = s.db.Close()
}

func (s *mysqlSession) check(ctx context.Context) error {
	_, err := s.column(ctx, "SELECT NOW()")
	return err
}

// setPassword is for the user who is logged in, and for the account that the server
// chose for him.
func (s *mysqlSession) setPassword(ctx context.Context, _, password string, _ ...string) error {
	native := false
	if s.mariaDB {
		made, err := s.column(ctx, "SHOW CREATE USER CURRENT_USER()")
		if err != nil {
			return err
		}
		native = len(made) == 1 && usesNativePassword(made[0])
	}
	return s.exec(ctx, "SET PASSWORD = "+s.passwordValue(password, native))
}

// passwordValue is what SET PASSWORD takes. MySQL wants the password, and keeps it out
// of its logs by itself. MariaDB, which does not, takes the hash where the account has
// the plugin that the hash is for.
func (s *mysqlSession) passwordValue(password string, native bool) string {
	switch {
	case !s.mariaDB:
		return quoteMySQL(password)
	case !native:
		return "PASSWORD(" + quoteMySQL(password) + ")"
	}
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	return quoteMySQL("*" + strings.ToUpper(hex.EncodeToString(twice[:])))
}

// account is a user as the server knows him: a name and from where he comes.
type account struct{ user, host, plugin string }

func (a account) String() string { return quoteMySQL(a.user) + "@" + quoteMySQL(a.host) }

// maxAccounts bounds how many accounts a user may have.
const maxAccounts = 64

// accounts are all accounts of a user. Those without a host are MariaDB's roles.
func (s *mysqlSession) accounts(ctx context.Context, user string) ([]account, error) {
	rows, err := s.conn.QueryContext(ctx, "SELECT Host, plugin FROM mysql.user WHERE BINARY User = "+quoteMySQL(user)+" AND Host <> '' ORDER BY Host")
	if err != nil {
		return nil, mysqlError(err)
	}
	defer rows.Close()
	var out []account
	for rows.Next() {
		a := account{user: user}
		if err := rows.Scan(&a.host, &a.plugin); err != nil {
			return nil, mysqlError(err)
		}
		if out = append(out, a); len(out) > maxAccounts {
			return nil, errorf(DatabaseError, "user %q has more than %d accounts", user, maxAccounts)
		}
	}
	return out, mysqlError(rows.Err())
}

// setTwin copies every account of the one user: from wherever he may come, the other
// may come. The server changes accounts one statement at a time. So a new account has a
// password that nobody knows until it may do everything, and the passwords are set last.
func (s *mysqlSession) setTwin(ctx context.Context, now, next *credential) error {
	first, err := s.accounts(ctx, now.username)
	if err != nil {
		return err
	}
	if len(first) == 0 {
		return errorf(DatabaseError, "there is no user %q", now.username)
	}
	second, err := s.accounts(ctx, next.username)
	if err != nil {
		return err
	}
	if err := s.checkTwin(ctx, first, second); err != nil {
		return err
	}
	for _, a := range first {
		b := account{next.username, a.host, ""}
		if !slices.ContainsFunc(second, func(x account) bool { return x.host == b.host }) {
			if err := s.exec(ctx, "CREATE USER "+b.String()+" IDENTIFIED BY "+quoteMySQL(rand.Text())); err != nil {
				return err
			}
		}
		if err := s.copyAccount(ctx, a, b); err != nil {
			return err
		}
	}
	if second, err = s.accounts(ctx, next.username); err != nil {
		return err
	}
	for _, b := range second {
		native := b.plugin == "" || b.plugin == nativePlugin
		if err := s.exec(ctx, "SET PASSWORD FOR "+b.String()+" = "+s.passwordValue(next.password, native)); err != nil {
			return err
		}
	}
	return nil
}

// checkTwin refuses to change a user who may do something to the whole server that the
// current user may not. See postgresSession.checkTwin.
func (s *mysqlSession) checkTwin(ctx context.Context, first, second []account) error {
	may := map[string]bool{}
	for _, a := range first {
		powers, err := s.powers(ctx, a)
		if err != nil {
			return err
		}
		for _, p := range powers {
			may[p] = true
		}
	}
	for _, b := range second {
		powers, err := s.powers(ctx, b)
		if err != nil {
			return err
		}
		for _, p := range powers {
			if !may[p] {
				return errorf(DatabaseError, "user %q is there and may do what %q may not: %s", b.user, first[0].user, p)
			}
		}
	}
	return nil
}

// powers are an account's rights on the whole server and on its system tables, and the
// roles that it can take.
func (s *mysqlSession) powers(ctx context.Context, a account) ([]string, error) {
	// The grantee is written there with quotes around it and none inside escaped.
	grantee := quoteMySQL("'" + a.user + "'@'" + a.host + "'")
	powers, err := s.column(ctx, "SELECT CONCAT(PRIVILEGE_TYPE, IF(IS_GRANTABLE = 'YES', ' to others', '')) FROM information_schema.USER_PRIVILEGES"+
		" WHERE BINARY GRANTEE = "+grantee+" AND NOT (PRIVILEGE_TYPE = 'USAGE' AND IS_GRANTABLE = 'NO')"+
		" UNION SELECT CONCAT(PRIVILEGE_TYPE, ' on mysql') FROM information_schema.SCHEMA_PRIVILEGES WHERE BINARY GRANTEE = "+grantee+" AND TABLE_SCHEMA = 'mysql'"+
		" UNION SELECT CONCAT(PRIVILEGE_TYPE, ' on mysql.', TABLE_NAME) FROM information_schema.TABLE_PRIVILEGES WHERE BINARY GRANTEE = "+grantee+" AND TABLE_SCHEMA = 'mysql'")
	if err != nil {
		return nil, err
	}
	rows, err := s.column(ctx, "SHOW GRANTS FOR "+a.String())
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if role, ok := grantedRole(row); ok {
			powers = append(powers, "role "+role)
		}
	}
	return powers, nil
}

// copyAccount gives one account the rights, the demands on TLS and the limits of
// another one.
func (s *mysqlSession) copyAccount(ctx context.Context, a, b account) error {
	rows, err := s.column(ctx, "SHOW GRANTS FOR "+a.String())
	if err != nil {
		return err
	}
	roles := false
	for _, row := range rows {
		statement, err := rewriteGrant(row, b.String())
		if err != nil {
			return errorf(DatabaseError, "a grant of user %q cannot be copied: %v", a.user, err)
		}
		_, role := grantedRole(row)
		roles = roles || role
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	if roles && !s.mariaDB { // MariaDB's grants say which one is the default
		if err := s.exec(ctx, "SET DEFAULT ROLE ALL TO "+b.String()); err != nil {
			return err
		}
	}
	var ssl, cipher, issuer, subject sql.NullString
	var limits [4]uint32
	err = s.conn.QueryRowContext(ctx, "SELECT ssl_type, ssl_cipher, x509_issuer, x509_subject, max_questions, max_updates, max_connections,"+
		" GREATEST(max_user_connections, 0) FROM mysql.user WHERE BINARY User = "+quoteMySQL(a.user)+" AND Host = "+quoteMySQL(a.host)).
		Scan(&ssl, &cipher, &issuer, &subject, &limits[0], &limits[1], &limits[2], &limits[3])
	if err != nil {
		return mysqlError(err)
	}
	demands, err := tlsDemands(ssl.String, cipher.String, issuer.String, subject.String)
	if err != nil {
		return err
	}
	return s.exec(ctx, "ALTER USER "+b.String()+" REQUIRE "+demands+" WITH "+limitClause(limits))
}
