package call_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/kmsapi"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/store"
)

const forwarder = "secretsmanager.amazonaws.com"

func decrypts(c *call.Call) *call.Call {
	return c.Forward(forwarder, kmsapi.OpDecrypt, &kmsapi.DecryptInput{EncryptionContext: map[string]string{"a": "b"}})
}

// A forwarded call is the caller's, and its record shows the service that made it.
func TestForward(t *testing.T) {
	b := newBed(t, func(b *bed) {
		b.allow = func(ck *call.Check) error {
			if ck.Resource == "denied" {
				return api.AccessDeniedException.Errorf("no")
			}
			return nil
		}
	})
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		for _, key := range []string{"fine", "denied", "unrecorded"} {
			fwd := decrypts(c)
			if fwd.Caller != c.Caller || fwd.Now != c.Now || fwd.SourceIP != c.SourceIP {
				t.Errorf("forwarded call %+v", fwd)
			}
			err := fwd.Authorize(ctx, &call.Check{Action: "kms:Decrypt", Resource: key})
			if (err != nil) != (key == "denied") {
				t.Errorf("%s: Authorize = %v", key, err)
			}
			if key == "denied" {
				fwd.NoteDenial(call.Denial{Action: "kms:Decrypt"})
			}
			fwd.NoteResource(account, "AWS::KMS::Key", "arn:"+key)
			if key != "unrecorded" {
				fwd.Done(nil, err)
			}
			if denied := fwd.Denied(); (denied != nil) != (key == "denied") {
				t.Errorf("%s: Denied = %v", key, denied)
			}
		}
		return allowed(ctx, c)
	})
	if _, err := b.read(t.Context(), "outer"); err != nil {
		t.Fatal(err)
	}
	type record struct {
		EventSource, EventName, ErrorCode, SourceIPAddress, UserAgent string
		UserIdentity                                                  struct{ ARN, InvokedBy string }
		RequestParameters                                             map[string]any
		Resources                                                     []struct{ ARN string }
		TLSDetails                                                    map[string]any
	}
	var got []record
	for _, l := range b.lines(t)[1:] {
		var r record
		if err := json.Unmarshal([]byte(l.raw), &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	want := make([]record, 2)
	for i, key := range []string{"fine", "denied"} {
		want[i] = record{
			EventSource: "kms.amazonaws.com", EventName: "Decrypt", SourceIPAddress: forwarder, UserAgent: forwarder,
			RequestParameters: map[string]any{"encryptionContext": map[string]any{"a": "b"}},
			Resources:         []struct{ ARN string }{{"arn:" + key}},
		}
		want[i].UserIdentity.ARN, want[i].UserIdentity.InvokedBy = "arn:aws:iam::"+account+":root", forwarder
	}
	want[1].ErrorCode = "AccessDeniedException"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// A sub-call hands the records of what it forwarded on.
func TestForwardInSubCall(t *testing.T) {
	b := newBed(t)
	b.serveRead(func(ctx context.Context, c *call.Call) error {
		sub := c.SubCall(smapi.OpGetSecretValue, nil)
		fwd := decrypts(sub)
		if err := allowed(ctx, fwd); err != nil {
			return err
		}
		fwd.Done(nil, nil)
		sub.Done(nil, allowed(ctx, sub))
		return allowed(ctx, c)
	})
	if _, err := b.read(t.Context(), "outer"); err != nil {
		t.Fatal(err)
	}
	b.wantEvents(t, "GetSecretValue", "GetSecretValue", "Decrypt")
}

// Of the calls that a closure forwards, those of its last run are recorded, together
// with the change: also when the answer never came to be, and once in any case.
func TestForwardInUpdate(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault store.Fault
		crash bool
		want  []string
	}{
		{"committed", store.NoFault, false, []string{"CreateSecret+", "Decrypt"}},
		{"crash before the line", store.NoFault, true, []string{"CreateSecret+", "Decrypt"}},
		{"outcome unknown", store.FaultUnknown, false, []string{"CreateSecret InternalServiceError", "CreateSecret+", "Decrypt"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t)
			runs, faulty := 0, true
			b.commit = func() store.Fault {
				if runs == 2 && faulty {
					faulty = false
					return tc.fault
				}
				return store.NoFault
			}
			b.serve(func(ctx context.Context, c *call.Call) error {
				return c.Update(ctx, b.store, func(tx *store.Tx) error {
					runs++
					fwd := decrypts(c)
					if err := allowed(ctx, fwd); err != nil {
						return err
					}
					fwd.Done(nil, nil)
					if err := allowed(ctx, c); err != nil {
						return err
					}
					b.notes.Put(tx, noteKey("a"), &note{"a"})
					if runs == 1 {
						// Somebody else is quicker, so that this closure runs again.
						_, err := b.store.Update(ctx, func(tx *store.Tx) error {
							b.notes.Put(tx, noteKey("a"), &note{"theirs"})
							return nil
						})
						return err
					}
					return nil
				})
			})
			if tc.crash {
				b.breakLog()
			}
			_, _ = b.create(t.Context(), "a")
			if runs < 2 {
				t.Errorf("the closure ran %d times, want at least 2", runs)
			}
			if tc.crash {
				b.diskFault.Store(nil)
				b.restart(t)
			}
			b.mustRecover(t)
			got := b.events(t)
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
