package oidc_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"arca/internal/egress"
	"arca/internal/oidc"
	"arca/internal/oidctest"
)

// One account, whose issuers it may register, delete and change as often as it likes,
// takes neither what is remembered for others nor the right to ask from them.
func TestOneAccountIsNotAll(t *testing.T) {
	silent, well := oidctest.New(t), oidctest.New(t)
	silent.Answer(oidctest.Hang, oidctest.Good)
	b := newBed(silent, well)
	b.SetTimeout(3 * time.Second)
	theirs := providerOf(well)
	theirs.Account = "111111111111"
	if _, err := b.verify(t.Context(), theirs, well.Token(t, nil)); err != nil {
		t.Fatal(err)
	}
	discoveries, _ := well.Requests()

	// The same issuer under ever new thumbprints counts as ever new issuers.
	token := silent.Token(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for i := range 600 {
		p := providerOf(silent)
		p.Account, p.Thumbprints = "222222222222", []string{fmt.Sprintf("%040x", i)}
		wg.Go(func() {
			begin := time.Now()
			_, err := b.verify(t.Context(), p, token)
			if kindOf(err) != oidc.Unreachable {
				t.Errorf("%v, want Unreachable", err)
			}
			if time.Since(begin) < 2*time.Second {
				mu.Lock()
				refused++
				mu.Unlock()
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	other := providerOf(well)
	other.Account, other.Thumbprints = "111111111111", []string{fmt.Sprintf("%040x", 1)}
	if _, err := b.verify(t.Context(), other, well.Token(t, nil)); err != nil {
		t.Errorf("another account cannot ask: %v", err)
	}
	wg.Wait()
	if refused < 500 {
		t.Errorf("of 600 issuers of one account %d were not asked, want nearly all", refused)
	}
	if _, err := b.verify(t.Context(), theirs, well.Token(t, nil)); err != nil {
		t.Error(err)
	}
	if now, _ := well.Requests(); now != discoveries+1 {
		t.Errorf("an issuer whose keys were known was asked again: %d times, before %d", now, discoveries)
	}
}

// What an account may have remembered is bounded by itself.
func TestOneAccountIsForgottenFirst(t *testing.T) {
	v := oidc.New(oidc.Config{Egress: egress.New(egress.Config{}), Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	claims := map[string]any{"iss": "https://127.0.0.1/", "sub": "s", "aud": "a", "iat": 1, "exp": 1 << 33}
	u, err := oidc.Parse(oidctest.Forge(t, map[string]any{"alg": "ES256"}, claims, func([]byte) []byte { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		p := oidc.Provider{Account: "222222222222", Issuer: u.Issuer(), Thumbprints: []string{fmt.Sprintf("%040x", i)}}
		if _, err := v.Verify(t.Context(), u, p); kindOf(err) != oidc.NoKey {
			t.Fatal(err)
		}
	}
	if got := v.Remembered(); got != 200 {
		t.Errorf("%d issuers of one account are remembered, want 200", got)
	}
}
