package call_test

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

const (
	ownerAccount = "210987654321"
	ownedARN     = "arn:aws:secretsmanager:eu-west-1:" + ownerAccount + ":secret:theirs-AbCdEf"
	callerARN    = "arn:aws:iam::" + account + ":root"
)

// ownedLine is what tests look at of the records of a call on somebody else's resource.
type ownedLine struct {
	UserIdentity       map[string]any
	EventID            string
	SharedEventID      string
	RecipientAccountID string
	ErrorCode          string
	ErrorMessage       string
	Resources          []struct{ AccountID, Type, ARN string }
	Arca               struct {
		Decoy   bool
		Denied  map[string]any
		Changes []any
	}
}

func (b *bed) ownedLines(t *testing.T) (all []ownedLine) {
	t.Helper()
	for _, l := range b.lines(t) {
		var o ownedLine
		if err := json.Unmarshal([]byte(l.raw), &o); err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// A call on a resource of another account leaves a record in each, which have an id in
// common. The owner learns who called as far as an account may learn of another; the
// caller learns from a denial nothing at all.
func TestOtherAccountsResource(t *testing.T) {
	for _, tc := range []struct {
		name   string
		denied bool
		exists bool
		want   int // lines
	}{
		{"allowed", false, true, 2},
		{"denied", true, true, 2},
		{"denied, and there is none", true, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t)
			b.allow = func(ck *call.Check) error {
				if !tc.denied {
					return nil
				}
				return smapi.AccessDeniedException.Errorf("User: %s is not authorized", callerARN)
			}
			b.serveRead(func(ctx context.Context, c *call.Call) error {
				if tc.exists {
					c.NoteOwned(ownerAccount, "AWS::SecretsManager::Secret", ownedARN)
					c.NoteOwned(ownerAccount, "AWS::SecretsManager::Secret", ownedARN)
				}
				err := allowed(ctx, c)
				if err != nil {
					c.NoteDenial(call.Denial{Action: "a", Resource: "r", Policy: "policy of the caller"})
				}
				return err
			})
			_, err := b.read(t.Context(), "theirs")
			if (err != nil) != tc.denied {
				t.Fatalf("read = %v", err)
			}
			lines := b.ownedLines(t)
			if len(lines) != tc.want {
				t.Fatalf("%d lines, want %d", len(lines), tc.want)
			}
			own := lines[0]
			if own.RecipientAccountID != account || own.UserIdentity["arn"] != callerARN || own.Resources != nil {
				t.Errorf("record of the caller's account: %+v", own)
			}
			if (own.SharedEventID != "") != !tc.denied || (own.Arca.Denied != nil) != tc.denied {
				t.Errorf("record of the caller's account: sharedEventID = %q, denied = %v", own.SharedEventID, own.Arca.Denied)
			}
			if tc.want == 1 {
				return
			}
			theirs := lines[1]
			if diff := cmp.Diff(map[string]any{"type": "AWSAccount", "principalId": account, "accountId": account}, theirs.UserIdentity); diff != "" {
				t.Errorf("userIdentity of the owner's record (-want +got):\n%s", diff)
			}
			if len(theirs.Resources) != 1 || theirs.Resources[0].ARN != ownedARN || theirs.RecipientAccountID != ownerAccount || theirs.Arca.Denied != nil {
				t.Errorf("record of the owner's account: %+v", theirs)
			}
			if theirs.EventID == own.EventID || theirs.SharedEventID == "" || own.SharedEventID != "" && own.SharedEventID != theirs.SharedEventID ||
				theirs.SharedEventID == theirs.EventID || theirs.SharedEventID == own.EventID {
				t.Errorf("ids %s and %s, shared %q and %q", own.EventID, theirs.EventID, own.SharedEventID, theirs.SharedEventID)
			}
			if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(theirs.SharedEventID) {
				t.Errorf("sharedEventID = %q", theirs.SharedEventID)
			}
			if want := "User: " + account + " is not authorized"; tc.denied && theirs.ErrorMessage != want {
				t.Errorf("errorMessage of the owner's record = %q, want %q", theirs.ErrorMessage, want)
			}
		})
	}
}

// What belongs to the caller's own account has one record, wherever it was noted; a
// service event between does not take the id of an owner's record.
func TestOwnResourceHasOneRecord(t *testing.T) {
	b := newBed(t)
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		c.NoteOwned(account, "T", "arn:own")
		c.NoteResource(account, "T", "arn:own")
		return allowed(ctx, c)
	})
	if _, err := b.read(t.Context(), "own"); err != nil {
		t.Fatal(err)
	}
	lines := b.ownedLines(t)
	if len(lines) != 1 || lines[0].SharedEventID != "" {
		t.Errorf("%d lines, sharedEventID = %q", len(lines), lines[0].SharedEventID)
	}
}

// However many accounts are noted, the records stay few.
func TestOwnersAreBounded(t *testing.T) {
	b := newBed(t)
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		for i := range 20 {
			c.NoteOwned(ownerAccount[:10]+string([]byte{'0' + byte(i/10), '0' + byte(i%10)}), "T", "arn:other")
		}
		c.ServiceEvent(call.ServiceEvent{Source: "secretsmanager.amazonaws.com", Name: "One", Account: account, Region: region})
		return allowed(ctx, c)
	})
	if _, err := b.read(t.Context(), "many"); err != nil {
		t.Fatal(err)
	}
	if n := len(b.lines(t)); n != 6 { // lines also compares the event ids
		t.Errorf("%d lines, want 6", n)
	}
}

// The records of a change are in its effect, that of the owner, too: what a crash takes
// away is written at the next start, under the same ids, and the changes count once.
func TestOtherAccountsResourceAfterCrash(t *testing.T) {
	for _, crash := range []bool{false, true} {
		b := newBed(t)
		b.serve(func(ctx context.Context, c *call.Call) error {
			return c.Update(ctx, b.store, func(tx *store.Tx) error {
				c.NoteOwned(ownerAccount, "T", ownedARN)
				if err := allowed(ctx, c); err != nil {
					return err
				}
				b.notes.Put(tx, noteKey("theirs"), &note{"theirs"})
				return nil
			})
		})
		if crash {
			b.breakLog()
		}
		_, err := b.create(t.Context(), "theirs")
		if (err != nil) != crash {
			t.Fatalf("create = %v", err)
		}
		if crash {
			b.diskFault.Store(nil)
			b.restart(t)
			if err := b.d.Recover(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		lines := b.ownedLines(t)
		if len(lines) != 2 {
			t.Fatalf("crash %v: %d lines, want 2", crash, len(lines))
		}
		if lines[0].SharedEventID == "" || lines[0].SharedEventID != lines[1].SharedEventID {
			t.Errorf("crash %v: shared ids %q and %q", crash, lines[0].SharedEventID, lines[1].SharedEventID)
		}
		if len(lines[0].Arca.Changes) != 1 || len(lines[1].Arca.Changes) != 0 {
			t.Errorf("crash %v: %d and %d changes, want 1 and 0", crash, len(lines[0].Arca.Changes), len(lines[1].Arca.Changes))
		}
	}
}

// A forwarded call tells the owner of a key in another account, under the same rules,
// and which service made it.
func TestForwardToOtherAccount(t *testing.T) {
	b := newBed(t)
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		fwd := decrypts(c)
		err := allowed(ctx, fwd)
		fwd.NoteResource(ownerAccount, "AWS::KMS::Key", "arn:key")
		fwd.Done(nil, err)
		return allowed(ctx, c)
	})
	if _, err := b.read(t.Context(), "mine"); err != nil {
		t.Fatal(err)
	}
	lines := b.ownedLines(t)
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3", len(lines))
	}
	if lines[0].SharedEventID != "" || lines[1].SharedEventID == "" || lines[1].SharedEventID != lines[2].SharedEventID {
		t.Errorf("shared ids %q, %q, %q", lines[0].SharedEventID, lines[1].SharedEventID, lines[2].SharedEventID)
	}
	want := map[string]any{"type": "AWSAccount", "principalId": account, "accountId": account, "invokedBy": forwarder}
	if diff := cmp.Diff(want, lines[2].UserIdentity); diff != "" {
		t.Errorf("userIdentity (-want +got):\n%s", diff)
	}
}

// The mark of a decoy is in the record, also when the call was denied or was part of a
// batch, and nowhere in the answer.
func TestDecoy(t *testing.T) {
	b := newBed(t)
	deny := false
	b.allow = func(*call.Check) error {
		if deny {
			return api.AccessDeniedException.Errorf("no")
		}
		return nil
	}
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		sub := c.SubCall(smapi.OpGetSecretValue, nil)
		sub.MarkDecoy()
		sub.Done(nil, errors.Join(allowed(ctx, sub)))
		if !deny {
			return allowed(ctx, c)
		}
		c.MarkDecoy()
		return allowed(ctx, c)
	})
	_, _ = b.read(t.Context(), "a")
	deny = true
	_, _ = b.read(t.Context(), "b")
	var got []bool
	for _, l := range b.ownedLines(t) {
		got = append(got, l.Arca.Decoy)
	}
	if want := []bool{false, true, true, true}; !slices.Equal(got, want) {
		t.Errorf("decoy in the records: %v, want %v", got, want)
	}
}
