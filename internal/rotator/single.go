package rotator

import (
	"context"
	"errors"
)

// singleUser rotates by giving one user another password. Where a user has only one
// password, the current version does not work from setSecret to finishSecret; that
// window is the price of this strategy.
type singleUser struct{ users }

func (s *singleUser) create(ctx context.Context) error {
	return s.users.create(ctx, func(name string) (string, error) { return name, nil })
}

// set changes the password, as the user himself. The pending password is tried first,
// because a former run may have got that far; the previous one last, because a
// rotation may have been broken off by hand after it had changed the password.
func (s *singleUser) set(ctx context.Context) error {
	now, err := s.read(ctx, awsCurrent)
	if err != nil {
		return err
	}
	next, err := s.readPending(ctx)
	if err != nil {
		return err
	}
	if err := s.checkPair(now, next, now.username); err != nil {
		return err
	}
	in, err := s.login(ctx, next)
	if err == nil {
		in.close()
		s.r.cfg.Log("setSecret: the password of version %s is in place already", s.r.ev.ClientRequestToken)
		return nil
	}
	if !refused(err) {
		return err
	}
	in, worked, err := s.loginBefore(ctx, now, next)
	if err != nil {
		return err
	}
	if in, err = s.atWork(ctx, in, now); err != nil {
		return err
	}
	defer in.close()
	if err := s.r.recheck(ctx); err != nil {
		return err
	}
	if err := in.setPassword(ctx, next.username, next.password, now.password); err != nil {
		return err
	}
	if err := s.proveOrRevert(ctx, in, worked, next); err != nil {
		return err
	}
	s.r.cfg.Log("setSecret: user %q has the password of version %s", next.username, s.r.ev.ClientRequestToken)
	return nil
}

// atWork is the session that changes passwords, given one of the user himself: that
// one, or a superuser's where users cannot change their own password and the secret
// names one.
func (s *singleUser) atWork(ctx context.Context, own session, now *credential) (session, error) {
	if !s.engine.both || now.masterARN == "" {
		return own, nil
	}
	own.close()
	in, _, err := s.loginMaster(ctx, now)
	return in, err
}

// loginBefore logs in with the password that the user has now: the current one or, if
// that is refused, the previous one.
func (s *singleUser) loginBefore(ctx context.Context, now, next *credential) (in session, worked *credential, err error) {
	in, err = s.login(ctx, now)
	if !refused(err) {
		return in, now, err
	}
	before, perr := s.read(ctx, awsPrevious)
	if errors.Is(perr, errNoValue) {
		return nil, nil, errorf(LoginRefused, "Unable to log into database with current or pending secret of secret %s: %s", s.r.ev.SecretID, reason(err))
	}
	if perr != nil {
		return nil, nil, perr
	}
	if before.username != next.username || !sameServer(before, next) {
		return nil, nil, errorf(LoginRefused, "Unable to log into database with current or pending secret of secret %s, and the previous one is for another user or host: %s",
			s.r.ev.SecretID, reason(err))
	}
	before.plain = now.plain
	in, err = s.login(ctx, before)
	if refused(err) {
		return nil, nil, errorf(LoginRefused, "Unable to log into database with previous, current, or pending secret of secret %s: %s", s.r.ev.SecretID, reason(err))
	}
	return in, before, err
}

func reason(err error) string {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return "refused"
	}
	return e.Message
}

// proveOrRevert logs in with the new password. A server that took it and still refuses
// it gets the former one again, by the session that changed it.
func (s *singleUser) proveOrRevert(ctx context.Context, in session, worked, next *credential) error {
	proof, err := s.login(ctx, next)
	if err == nil {
		proof.close()
		return nil
	}
	if !refused(err) {
		return err // it may work all the same: the next run finds out
	}
	if rerr := in.setPassword(ctx, worked.username, worked.password); rerr != nil {
		return errorf(DatabaseError, "the new password was set but does not work (%s), and the former one could not be set again: %s", reason(err), s.r.failure(rerr).Message)
	}
	return errorf(LoginRefused, "the new password was set but does not work, the former one is in place again: %s", reason(err))
}

// finish makes the new version current and then ends the other passwords.
func (s *singleUser) finish(ctx context.Context) error {
	if err := s.users.finish(ctx); err != nil {
		return err
	}
	return s.tidy(ctx)
}

// tidy ends all passwords but the current one, where there can be several.
func (s *singleUser) tidy(ctx context.Context) error {
	if !s.engine.both {
		return nil
	}
	now, err := s.read(ctx, awsCurrent)
	if err != nil {
		return err
	}
	in, err := s.login(ctx, now)
	if err != nil {
		return err
	}
	if in, err = s.atWork(ctx, in, now); err != nil {
		return err
	}
	defer in.close()
	// The version may have been replaced since: then its password is no longer the one
	// to be left.
	l, err := s.r.labels(ctx)
	if err != nil {
		return err
	}
	if l.current != s.r.ev.ClientRequestToken || len(l.pending) > 1 || len(l.pending) == 1 && l.pending[0] != l.current {
		return nil
	}
	if err := in.setPassword(ctx, now.username, now.password); err != nil {
		return err
	}
	s.r.cfg.Log("finishSecret: user %q has no other password any more", now.username)
	return nil
}
