package access_test

import (
	"fmt"
	"strings"
	"testing"

	"arca/internal/access"
	"arca/internal/policy"
)

// What is kept for callers is bounded by what their policies take, those that many
// share counted once.
func TestBundlesAreBounded(t *testing.T) {
	text := `{"Version":"2012-10-17","Statement":[` +
		strings.TrimSuffix(strings.Repeat(`{"Effect":"Allow","Action":"a:B","Resource":"*"},`, 200), ",") + `]}`
	doc, err := policy.ParseIdentityPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	shared := policy.Compile(doc)
	each := shared.Weight()
	var b access.Bundles
	for i := range 1000 {
		b.Put(fmt.Sprint("sharing ", i), shared, shared)
	}
	if callers, policies, bytes := b.Held(); callers != 1000 || policies != 1 || bytes != each {
		t.Errorf("%d callers with %d policies weigh %d, want one policy of %d", callers, policies, bytes, each)
	}
	for range 2000 {
		b.Put("changing", policy.Compile(doc), shared)
	}
	if _, policies, bytes := b.Held(); policies != 2 || bytes != 2*each {
		t.Errorf("a caller whose policies changed often leaves %d policies of %d bytes behind", policies, bytes)
	}
	last := 2 * access.MaxBundleBytes / each
	for i := range last + 1 {
		b.Put(fmt.Sprint("caller ", i), policy.Compile(doc))
		if _, _, bytes := b.Held(); bytes > access.MaxBundleBytes {
			t.Fatalf("%d bytes are kept", bytes)
		}
	}
	if !b.Has(fmt.Sprint("caller ", last)) {
		t.Error("the newest is not kept")
	}
}
