package rotator

import (
	"context"
	"errors"
	"strings"
)

// users is what the rotators of database users have in common.
type users struct {
	r      *rotation
	engine engine
}

// read reads the version with a label.
func (u users) read(ctx context.Context, label string) (*credential, error) {
	value, err := u.r.value(ctx, u.r.ev.SecretID, "", label)
	if err != nil {
		return nil, err
	}
	return u.parseCredential(value)
}

func (u users) readPending(ctx context.Context) (*credential, error) {
	value, err := u.r.pendingValue(ctx)
	if err != nil {
		return nil, err
	}
	return u.parseCredential(value)
}

// create stores the current value with another name and a new password, unless that
// was done before.
func (u users) create(ctx context.Context, name func(string) (string, error)) error {
	now, err := u.read(ctx, awsCurrent)
	if err != nil {
		return err
	}
	if _, err := u.readPending(ctx); err == nil {
		u.r.cfg.Log("createSecret: version %s has its value already", u.r.ev.ClientRequestToken)
		return nil
	} else if !errors.Is(err, errNoValue) {
		return err
	}
	next, err := name(now.username)
	if err != nil {
		return err
	}
	password, err := u.r.newPassword(ctx)
	if err != nil {
		return err
	}
	if err := checkNewPassword(password); err != nil {
		return err
	}
	if err := u.r.put(ctx, now.doc.with("username", next).with("password", password).String()); err != nil {
		return err
	}
	u.r.cfg.Log("createSecret: version %s of secret %s is for user %q", u.r.ev.ClientRequestToken, u.r.ev.SecretID, next)
	return nil
}

// checkPair compares what the secret is with what it is rotated to, before anything is
// sent anywhere.
func (u users) checkPair(now, next *credential, name string) error {
	if name != next.username {
		return errorf(InvalidSecret, "Attempting to modify user %q other than %q", next.username, name)
	}
	if !sameServer(now, next) {
		return errorf(InvalidSecret, "Attempting to modify user for host %s:%d other than current host %s:%d", next.host, next.port, now.host, now.port)
	}
	return checkNewPassword(next.password)
}

// test logs in with the pending value and asks for something simple.
func (u users) test(ctx context.Context) error {
	now, err := u.read(ctx, awsCurrent)
	if err != nil {
		return err
	}
	next, err := u.readPending(ctx)
	if err != nil {
		return err
	}
	if !sameServer(now, next) {
		return errorf(InvalidSecret, "version %s is for another host than the current one", u.r.ev.ClientRequestToken)
	}
	s, err := u.login(ctx, next)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.check(ctx); err != nil {
		return err
	}
	u.r.cfg.Log("testSecret: version %s works for user %q", u.r.ev.ClientRequestToken, next.username)
	return nil
}

// finish makes the pending version the current one, after a last login with it: what
// becomes current works at that moment.
func (u users) finish(ctx context.Context) error {
	if err := u.test(ctx); err != nil {
		return err
	}
	return u.r.moveCurrent(ctx)
}

// master reads the superuser's secret, as the function's role, and makes sure that it
// is for the same server. The superuser logs in to where his own secret says, with the
// TLS that it asks for: nothing of the rotated secret has a say in that.
func (u users) master(ctx context.Context, now *credential) (*credential, error) {
	if now.masterARN == "" {
		return nil, errorf(InvalidSecret, "masterarn key is missing from secret JSON")
	}
	value, err := u.r.value(ctx, now.masterARN, "", awsCurrent)
	if err != nil {
		return nil, err
	}
	master, err := u.parseCredential(value)
	if err != nil {
		failed, _ := errors.AsType[*Error](err)
		return nil, errorf(InvalidSecret, "master secret %s: %s", now.masterARN, failed.Message)
	}
	if !sameServer(now, master) {
		return nil, errorf(InvalidSecret, "Current database host %s:%d is not the same host as %s:%d of master %s",
			now.host, now.port, master.host, master.port, now.masterARN)
	}
	return master, nil
}

// loginMaster logs in as the superuser.
func (u users) loginMaster(ctx context.Context, now *credential) (session, *credential, error) {
	master, err := u.master(ctx, now)
	if err != nil {
		return nil, nil, err
	}
	s, err := u.login(ctx, master)
	if refused(err) {
		return nil, nil, errorf(LoginRefused, "Unable to log into database using credentials in master secret %s", now.masterARN)
	}
	return s, master, err
}

// cloneSuffix is what the second user of a pair is called by.
const cloneSuffix = "_clone"

// twin is the name of the other user of a pair.
func (u users) twin(name string) (string, error) {
	if first, ok := strings.CutSuffix(name, cloneSuffix); ok && first != "" {
		return first, nil
	}
	if len(name)+len(cloneSuffix) > u.engine.maxUser {
		return "", errorf(InvalidSecret, "Unable to clone user, username length with %s appended would exceed %d characters", cloneSuffix, u.engine.maxUser)
	}
	return name + cloneSuffix, nil
}
