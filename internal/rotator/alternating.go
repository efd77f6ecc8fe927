package rotator

import "context"

// alternatingUsers rotates between two users who may do the same: the one that is not
// current gets a new password and becomes the current one. The login that AWSCURRENT
// names is never touched.
type alternatingUsers struct{ users }

func (a *alternatingUsers) create(ctx context.Context) error { return a.users.create(ctx, a.twin) }

// set has the superuser give the other user his password, and make him if he is not
// there. The current login has to work first: whoever has not got it shall not have a
// superuser work for him.
//
// A pending login that works is no reason to stop: a run that was cut off may have got
// only so far with some of the accounts of a user.
func (a *alternatingUsers) set(ctx context.Context) error {
	now, err := a.read(ctx, awsCurrent)
	if err != nil {
		return err
	}
	next, err := a.readPending(ctx)
	if err != nil {
		return err
	}
	other, err := a.twin(now.username)
	if err != nil {
		return err
	}
	if err := a.checkPair(now, next, other); err != nil {
		return err
	}
	in, err := a.login(ctx, now)
	if refused(err) {
		return a.setWithoutCurrent(ctx, next, err)
	}
	if err != nil {
		return err
	}
	in.close()
	in, master, err := a.loginMaster(ctx, now)
	if err != nil {
		return err
	}
	defer in.close()
	if master.username == next.username || master.username == now.username {
		return errorf(InvalidSecret, "master secret %s is for user %q, who is one of the two users to alternate", now.masterARN, master.username)
	}
	if err := a.r.recheck(ctx); err != nil {
		return err
	}
	if err := in.setTwin(ctx, now, next); err != nil {
		return err
	}
	if err := a.prove(ctx, next); err != nil {
		return err
	}
	a.r.cfg.Log("setSecret: user %q has the password of version %s", next.username, a.r.ev.ClientRequestToken)
	return nil
}

// setWithoutCurrent accepts a pending login that works although the current one does
// not: to go on repairs the secret.
func (a *alternatingUsers) setWithoutCurrent(ctx context.Context, next *credential, err error) error {
	in, perr := a.login(ctx, next)
	if perr != nil {
		return errorf(LoginRefused, "Unable to log into database using current credentials for secret %s: %s", a.r.ev.SecretID, reason(err))
	}
	in.close()
	a.r.cfg.Log("setSecret: the current login does not work, the password of version %s is in place already", a.r.ev.ClientRequestToken)
	return nil
}

// prove logs in with the new password.
func (a *alternatingUsers) prove(ctx context.Context, next *credential) error {
	in, err := a.login(ctx, next)
	if refused(err) {
		return errorf(LoginRefused, "the new password was set but does not work: %s", reason(err))
	}
	if err != nil {
		return err
	}
	in.close()
	return nil
}

func (a *alternatingUsers) tidy(context.Context) error { return nil }
