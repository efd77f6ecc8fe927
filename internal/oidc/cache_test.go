package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"arca/internal/egress"
	"arca/internal/oidc"
	"arca/internal/oidctest"
)

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// asked fails unless the issuer's keys were asked for this often in all.
func asked(t *testing.T, issuer *oidctest.Issuer, want int) {
	t.Helper()
	if _, got := issuer.Requests(); got != want {
		t.Errorf("keys were asked for %d times, want %d", got, want)
	}
}

// TestKeysAreRemembered: one question for many tokens, another when they are old.
func TestKeysAreRemembered(t *testing.T) {
	for _, tc := range []struct {
		name, cacheControl string
		fresh, stale       time.Duration
	}{
		{"usually", "", 9 * time.Minute, 2 * time.Minute},
		{"as the issuer says", "public, max-age=120", 110 * time.Second, 20 * time.Second},
		{"at most an hour", "max-age=86400", 59 * time.Minute, 2 * time.Minute},
		{"at least a minute", "max-age=0", 50 * time.Second, 20 * time.Second},
		{"not stored", "no-store", 50 * time.Second, 20 * time.Second},
		{"nonsense", "max-age=soon", 9 * time.Minute, 2 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			issuer := oidctest.New(t)
			issuer.CacheControl(tc.cacheControl)
			b := newBed(issuer)
			verify := func() {
				t.Helper()
				now := b.clock.now().Unix()
				token := issuer.Token(t, map[string]any{"iat": now, "nbf": now, "exp": now + 60})
				if _, err := b.verify(t.Context(), providerOf(issuer), token); err != nil {
					t.Error(err)
				}
			}
			verify()
			b.clock.advance(tc.fresh)
			verify()
			asked(t, issuer, 1)
			b.clock.advance(tc.stale)
			verify()
			asked(t, issuer, 2)
		})
	}
}

// TestRotation: a new key is found when the first token needs it, an old one is
// forgotten with the next look.
func TestRotation(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(issuer)
	old := issuer.Token(t, nil)
	if _, err := b.verify(t.Context(), providerOf(issuer), old); err != nil {
		t.Fatal(err)
	}
	issuer.AddKey(t, jose.ES384)
	b.clock.advance(20 * time.Second)
	if _, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, nil)); err != nil {
		t.Errorf("token of a new key: %v", err)
	}
	asked(t, issuer, 2)
	if _, err := b.verify(t.Context(), providerOf(issuer), old); err != nil {
		t.Errorf("token of the old key: %v", err)
	}
	issuer.Retire()
	b.clock.advance(20 * time.Minute)
	if _, err := b.verify(t.Context(), providerOf(issuer), old); kindOf(err) != oidc.NoKey {
		t.Errorf("token of a retired key: %v, want NoKey", err)
	}
}

// TestKeyIDFlood: made-up key ids do not become questions to the issuer.
func TestKeyIDFlood(t *testing.T) {
	issuer := oidctest.New(t)
	key := issuer.AddKey(t, jose.ES256)
	b := newBed(issuer)
	payload := mustJSON(t, issuer.Claims(nil))
	for i := range 200 {
		if i == 100 {
			b.clock.advance(11 * time.Second)
		}
		token := oidctest.Sign(t, &oidctest.Key{ID: fmt.Sprint("made-up-", i), Alg: key.Alg, Private: key.Private}, payload)
		if _, err := b.verify(t.Context(), providerOf(issuer), token); kindOf(err) != oidc.NoKey {
			t.Fatalf("token of a made-up key: %v, want NoKey", err)
		}
	}
	asked(t, issuer, 2)
	if _, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, nil)); err != nil {
		t.Errorf("a good token in the flood: %v", err)
	}
}

// TestSingleFlight: everybody waits for the same answer.
func TestSingleFlight(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(issuer)
	token := issuer.Token(t, nil)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := b.verify(t.Context(), providerOf(issuer), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	asked(t, issuer, 1)
}

// TestBadAnswers: what an issuer answers, which error it makes, and that the next
// token does not make the same mistake again at once.
func TestBadAnswers(t *testing.T) {
	for _, tc := range []struct {
		name              string
		discovery, keySet oidctest.Mode
		want              oidc.Kind
	}{
		{"discovery fails", oidctest.Failing, oidctest.Good, oidc.Unreachable},
		{"no discovery", oidctest.Missing, oidctest.Good, oidc.NoKey},
		{"discovery is elsewhere", oidctest.Redirecting, oidctest.Good, oidc.NoKey},
		{"endless discovery", oidctest.Huge, oidctest.Good, oidc.NoKey},
		{"discovery is no JSON", oidctest.Garbled, oidctest.Good, oidc.NoKey},
		{"discovery of somebody else", oidctest.OtherIssuer, oidctest.Good, oidc.NoKey},
		{"keys without TLS", oidctest.InsecureKeys, oidctest.Good, oidc.NoKey},
		{"keys fail", oidctest.Good, oidctest.Failing, oidc.Unreachable},
		{"no keys there", oidctest.Good, oidctest.Missing, oidc.NoKey},
		{"keys are elsewhere", oidctest.Good, oidctest.Redirecting, oidc.NoKey},
		{"endless keys", oidctest.Good, oidctest.Huge, oidc.NoKey},
		{"keys are no JSON", oidctest.Good, oidctest.Garbled, oidc.NoKey},
		{"empty key set", oidctest.Good, oidctest.NoKeys, oidc.NoKey},
		{"too many keys", oidctest.Good, oidctest.TooManyKeys, oidc.NoKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			issuer := oidctest.New(t)
			issuer.Answer(tc.discovery, tc.keySet)
			b := newBed(issuer)
			token := issuer.Token(t, nil)
			for range 3 {
				if _, err := b.verify(t.Context(), providerOf(issuer), token); kindOf(err) != tc.want {
					t.Errorf("kind %d (%v), want %d", kindOf(err), err, tc.want)
				}
			}
			if discoveries, _ := issuer.Requests(); discoveries != 1 {
				t.Errorf("asked %d times, want once", discoveries)
			}
			issuer.Answer(oidctest.Good, oidctest.Good)
			b.clock.advance(11 * time.Second)
			if _, err := b.verify(t.Context(), providerOf(issuer), token); err != nil {
				t.Errorf("once the issuer is well again: %v", err)
			}
		})
	}
}

// TestSilentIssuer: an issuer that does not answer costs the caller what he will wait,
// and others nothing. Known keys serve meanwhile, for some hours.
func TestSilentIssuer(t *testing.T) {
	silent, well := oidctest.New(t), oidctest.New(t)
	silent.Answer(oidctest.Hang, oidctest.Good)
	b := newBed(silent, well)
	b.SetTimeout(500 * time.Millisecond)
	token := silent.Token(t, nil)
	waiting := make(chan error, 1)
	go func() {
		_, err := b.verify(context.WithoutCancel(t.Context()), providerOf(silent), token)
		waiting <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := b.verify(ctx, providerOf(silent), token); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller who will not wait: %v", err)
	}
	start := time.Now()
	for range 20 {
		if _, err := b.verify(t.Context(), providerOf(well), well.Token(t, nil)); err != nil {
			t.Errorf("another issuer's token: %v", err)
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("another issuer's tokens took %v", took)
	}
	if err := <-waiting; kindOf(err) != oidc.Unreachable {
		t.Errorf("a caller who waits: %v, want Unreachable", err)
	}
	if discoveries, _ := silent.Requests(); discoveries != 1 {
		t.Errorf("the silent issuer was asked %d times, want once", discoveries)
	}
}

// TestOldKeysServe while their issuer is down, and not for ever.
func TestOldKeysServe(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(issuer)
	verify := func() error {
		now := b.clock.now().Unix()
		_, err := b.verify(t.Context(), providerOf(issuer), issuer.Token(t, map[string]any{"iat": now, "nbf": now, "exp": now + 60}))
		return err
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	issuer.Answer(oidctest.Failing, oidctest.Failing)
	for _, step := range []struct {
		after time.Duration
		want  oidc.Kind
	}{
		{11 * time.Minute, 0},
		{time.Second, 0},
		{5 * time.Hour, 0},
		{time.Hour, oidc.Unreachable},
	} {
		b.clock.advance(step.after)
		if err := verify(); kindOf(err) != step.want {
			t.Errorf("after another %v: %v, want kind %d", step.after, err, step.want)
		}
	}
}

// TestThumbprintsOfOthers: what one account says about an issuer's server counts for
// that account alone.
func TestThumbprintsOfOthers(t *testing.T) {
	issuer := oidctest.New(t)
	b := newBed(oidctest.New(t)) // the issuer's authority is not known
	token := issuer.Token(t, nil)
	vouched := providerOf(issuer)
	vouched.Thumbprints = []string{issuer.Authority.Thumbprint()}
	if _, err := b.verify(t.Context(), vouched, token); err != nil {
		t.Fatalf("with the authority's thumbprint: %v", err)
	}
	if _, err := b.verify(t.Context(), providerOf(issuer), token); kindOf(err) != oidc.BadServer {
		t.Errorf("without: %v, want BadServer", err)
	}
	other := providerOf(issuer)
	other.Thumbprints = []string{"0000000000000000000000000000000000000000", "not hexadecimal"}
	if _, err := b.verify(t.Context(), other, token); kindOf(err) != oidc.BadServer {
		t.Errorf("with another: %v, want BadServer", err)
	}
}

// TestRefusedAddress: an issuer that resolves to the server's neighbours is not asked.
func TestRefusedAddress(t *testing.T) {
	issuer := oidctest.New(t)
	v := oidc.New(oidc.Config{Egress: egress.New(egress.Config{RootCAs: issuer.Authority.Roots()}), Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	u, err := oidc.Parse(issuer.Token(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), u, providerOf(issuer)); kindOf(err) != oidc.NoKey || !errors.Is(err, egress.ErrRefused) {
		t.Errorf("issuer on loopback: %v, want NoKey for ErrRefused", err)
	}
	if discoveries, _ := issuer.Requests(); discoveries != 0 {
		t.Errorf("it was asked %d times", discoveries)
	}
}

// TestForgets: the number of issuers that are remembered is bounded.
func TestForgets(t *testing.T) {
	v := oidc.New(oidc.Config{Egress: egress.New(egress.Config{}), Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	claims := map[string]any{"sub": "s", "aud": "a", "iat": 1, "exp": 1 << 33}
	for i := range 1500 {
		claims["iss"] = fmt.Sprintf("https://127.0.0.1/%d", i)
		token := oidctest.Forge(t, map[string]any{"alg": "ES256"}, claims, func([]byte) []byte { return nil })
		u, err := oidc.Parse(token)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), u, oidc.Provider{Account: fmt.Sprint(i % 10), Issuer: u.Issuer()}); kindOf(err) != oidc.NoKey {
			t.Fatal(err)
		}
	}
	if got := v.Remembered(); got != 1000 {
		t.Errorf("%d issuers are remembered, want 1000", got)
	}
}
