package iam_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api/iamapi"
	"arca/internal/iam"
	"arca/internal/policy"
)

const (
	issuer    = "https://token.issuer.example/group/project"
	issuerARN = "arn:aws:iam::" + account + ":oidc-provider/token.issuer.example/group/project"
	thumb     = "0123456789abcdef0123456789ABCDEF01234567"
)

func (h *house) createProvider(t testing.TB, url string, clients ...string) (arn string) {
	t.Helper()
	out := must[iamapi.CreateOpenIDConnectProviderOutput](t, h, iamapi.OpCreateOpenIDConnectProvider, &iamapi.CreateOpenIDConnectProviderInput{Url: url, ClientIDList: clients})
	return *out.OpenIDConnectProviderArn
}

func (h *house) getProvider(t testing.TB, arn string) *iamapi.GetOpenIDConnectProviderOutput {
	t.Helper()
	return must[iamapi.GetOpenIDConnectProviderOutput](t, h, iamapi.OpGetOpenIDConnectProvider, &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
}

func TestProviderLifecycle(t *testing.T) {
	h := newHouse(t)
	created := must[iamapi.CreateOpenIDConnectProviderOutput](t, h, iamapi.OpCreateOpenIDConnectProvider, &iamapi.CreateOpenIDConnectProviderInput{
		Url: issuer, ClientIDList: []string{"sts.amazonaws.com", "app", "app"}, ThumbprintList: []string{thumb, strings.ToLower(thumb)}, Tags: tags("a", "b"),
	})
	if diff := cmp.Diff(&iamapi.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: new(issuerARN), Tags: tags("a", "b")}, created); diff != "" {
		t.Errorf("CreateOpenIDConnectProvider (-want +got):\n%s", diff)
	}
	want := &iamapi.GetOpenIDConnectProviderOutput{
		Url: new("token.issuer.example/group/project"), ClientIDList: []string{"sts.amazonaws.com", "app"},
		ThumbprintList: []string{strings.ToLower(thumb)}, CreateDate: &start, Tags: tags("a", "b"),
	}
	if diff := cmp.Diff(want, h.getProvider(t, issuerARN)); diff != "" {
		t.Errorf("GetOpenIDConnectProvider (-want +got):\n%s", diff)
	}
	change := func(id string) (*iamapi.AddClientIDToOpenIDConnectProviderInput, *iamapi.RemoveClientIDFromOpenIDConnectProviderInput) {
		return &iamapi.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN, ClientID: id},
			&iamapi.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN, ClientID: id}
	}
	add, remove := change("third")
	h.run(t, iamapi.OpAddClientIDToOpenIDConnectProvider, add)
	h.run(t, iamapi.OpAddClientIDToOpenIDConnectProvider, add)
	_, removeApp := change("app")
	h.run(t, iamapi.OpRemoveClientIDFromOpenIDConnectProvider, removeApp)
	h.run(t, iamapi.OpRemoveClientIDFromOpenIDConnectProvider, removeApp)
	want.ClientIDList = []string{"sts.amazonaws.com", "third"}
	h.run(t, iamapi.OpUpdateOpenIDConnectProviderThumbprint, &iamapi.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: issuerARN, ThumbprintList: []string{strings.Repeat("A", 40)}})
	want.ThumbprintList = []string{strings.Repeat("a", 40)}
	if diff := cmp.Diff(want, h.getProvider(t, issuerARN)); diff != "" {
		t.Errorf("after changes (-want +got):\n%s", diff)
	}
	h.run(t, iamapi.OpRemoveClientIDFromOpenIDConnectProvider, remove)

	second := h.createProvider(t, "https://accounts.example")
	if got := h.getProvider(t, second); len(got.ThumbprintList) != 0 || got.ThumbprintList == nil || len(got.ClientIDList) != 0 {
		t.Errorf("provider without anything: %+v", got)
	}
	h.run(t, iamapi.OpCreateOpenIDConnectProvider, &iamapi.CreateOpenIDConnectProviderInput{Url: issuer}, otherRoot())
	listed := must[iamapi.ListOpenIDConnectProvidersOutput](t, h, iamapi.OpListOpenIDConnectProviders, &iamapi.ListOpenIDConnectProvidersInput{})
	var arns []string
	for _, p := range listed.OpenIDConnectProviderList {
		arns = append(arns, *p.Arn)
	}
	if diff := cmp.Diff([]string{second, issuerARN}, arns); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}

	gone := &iamapi.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN}
	h.run(t, iamapi.OpDeleteOpenIDConnectProvider, gone)
	h.run(t, iamapi.OpDeleteOpenIDConnectProvider, gone)
	missing := "NoSuchEntity: OpenIDConnect Provider not found for arn " + issuerARN
	h.refused(t, missing, iamapi.OpGetOpenIDConnectProvider, &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: issuerARN})
	h.refused(t, missing, iamapi.OpAddClientIDToOpenIDConnectProvider, add)
	h.refused(t, missing, iamapi.OpRemoveClientIDFromOpenIDConnectProvider, remove)
	h.refused(t, missing, iamapi.OpUpdateOpenIDConnectProviderThumbprint, &iamapi.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: issuerARN, ThumbprintList: []string{thumb}})
	// The other account's provider of the same issuer is untouched, and its own business.
	foreign := strings.Replace(issuerARN, account, otherAccount, 1)
	h.refused(t, "NoSuchEntity: OpenIDConnect Provider not found for arn "+foreign, iamapi.OpGetOpenIDConnectProvider, &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: foreign})
	h.run(t, iamapi.OpDeleteOpenIDConnectProvider, &iamapi.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: foreign})
	h.run(t, iamapi.OpGetOpenIDConnectProvider, &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: foreign}, otherRoot())
}

func TestCreateProviderRefused(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Providers = 2; q.Tags = 1 })
	h.createProvider(t, issuer)
	var many []string
	for i := range 101 {
		many = append(many, fmt.Sprint("client-", i))
	}
	for _, tc := range []struct {
		name string
		set  func(in *iamapi.CreateOpenIDConnectProviderInput)
		want string
	}{
		{"same issuer", func(in *iamapi.CreateOpenIDConnectProviderInput) { in.Url = issuer }, "EntityAlreadyExists: Provider with url " + issuer + " already exists."},
		{"not https", func(in *iamapi.CreateOpenIDConnectProviderInput) { in.Url = "http://issuer.example" }, "InvalidInput: Invalid Open ID Connect Provider URL"},
		{"six thumbprints", func(in *iamapi.CreateOpenIDConnectProviderInput) {
			in.ThumbprintList = []string{thumb, thumb, thumb, thumb, thumb, thumb}
		}, "InvalidInput: Thumbprint list must contain fewer than 5 entries."},
		{"thumbprint of other letters", func(in *iamapi.CreateOpenIDConnectProviderInput) {
			in.ThumbprintList = []string{strings.Repeat("g", 40)}
		},
			"InvalidInput: Thumbprint must be 40 hexadecimal digits."},
		{"too many audiences", func(in *iamapi.CreateOpenIDConnectProviderInput) { in.ClientIDList = many },
			"LimitExceeded: Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100"},
		{"too many tags", func(in *iamapi.CreateOpenIDConnectProviderInput) { in.Tags = tags("a", "b", "c", "d") },
			"LimitExceeded: Cannot exceed quota for TagsPerOpenIDConnectProvider: 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := &iamapi.CreateOpenIDConnectProviderInput{Url: "https://other.example"}
			tc.set(in)
			h.refused(t, tc.want, iamapi.OpCreateOpenIDConnectProvider, in)
		})
	}
	full := h.createProvider(t, "https://other.example", many[:100]...)
	h.refused(t, "LimitExceeded: Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100", iamapi.OpAddClientIDToOpenIDConnectProvider,
		&iamapi.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: full, ClientID: "one more"})
	h.refused(t, "InvalidInput: Thumbprint list must contain fewer than 5 entries.", iamapi.OpUpdateOpenIDConnectProviderThumbprint,
		&iamapi.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: full, ThumbprintList: []string{thumb, thumb, thumb, thumb, thumb, thumb}})
	h.refused(t, "LimitExceeded: Cannot exceed quota for OpenIdConnectProvidersPerAccount: 2", iamapi.OpCreateOpenIDConnectProvider,
		&iamapi.CreateOpenIDConnectProviderInput{Url: "https://third.example"})
}

func TestProviderARNForm(t *testing.T) {
	h := newHouse(t)
	h.refused(t, "ValidationError: Invalid ARN:  Could not be parsed!", iamapi.OpGetOpenIDConnectProvider, &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: "this is not an ARN, is it"})
	for _, arn := range []string{"arn:aws:iam::" + account + ":saml-provider/x", "arn:aws:iam::aws:oidc-provider/x", "arn:aws:sts::" + account + ":oidc-provider/x"} {
		want := "InvalidInput: ARN " + arn + " is not valid."
		h.refused(t, want, iamapi.OpGetOpenIDConnectProvider, &iamapi.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
		h.refused(t, want, iamapi.OpTagOpenIDConnectProvider, &iamapi.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: tags("a", "b")})
		h.refused(t, want, iamapi.OpUntagOpenIDConnectProvider, &iamapi.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"a"}})
		h.refused(t, want, iamapi.OpListOpenIDConnectProviderTags, &iamapi.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn})
		h.refused(t, want, iamapi.OpDeleteOpenIDConnectProvider, &iamapi.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
		h.refused(t, want, iamapi.OpAddClientIDToOpenIDConnectProvider, &iamapi.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: "x"})
		h.refused(t, want, iamapi.OpRemoveClientIDFromOpenIDConnectProvider, &iamapi.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: "x"})
		h.refused(t, want, iamapi.OpUpdateOpenIDConnectProviderThumbprint, &iamapi.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: arn, ThumbprintList: []string{thumb}})
	}
}

func TestIssuerURL(t *testing.T) {
	for _, tc := range []struct{ name, url, want string }{
		{"host", "https://issuer.example", "issuer.example"},
		{"path", issuer, "token.issuer.example/group/project"},
		{"trailing slash", "https://tenant.issuer.example/", "tenant.issuer.example/"},
		{"capitals are kept", "https://Issuer.Example/Path", "Issuer.Example/Path"},
		{"port", "https://issuer.example:8443/realms/one", "issuer.example:8443/realms/one"},
		{"address", "https://192.0.2.1:8443", "192.0.2.1:8443"},
		{"IPv6 address", "https://[2001:db8::1]:8443", "[2001:db8::1]:8443"},
		{"short host", "https://issuer:8443", "issuer:8443"},
		{"one word, like a service", "https://sts", ""},
		{"empty", "", ""},
		{"no scheme", "issuer.example", ""},
		{"http", "http://issuer.example", ""},
		{"capital scheme", "HTTPS://issuer.example", ""},
		{"no host", "https://", ""},
		{"no host but a path", "https:///path", ""},
		{"query", "https://issuer.example/?a=b", ""},
		{"empty query", "https://issuer.example/?", ""},
		{"fragment", "https://issuer.example/#a", ""},
		{"user", "https://user@issuer.example", ""},
		{"user and password", "https://user:secret@issuer.example/", ""},
		{"port that is none", "https://issuer.example:port", ""},
		{"port 0", "https://issuer.example:0", ""},
		{"port too high", "https://issuer.example:65536", ""},
		{"empty port", "https://issuer.example:/", ""},
		{"wildcard", "https://issuer.example/*", ""},
		{"policy variable", "https://issuer.example/${aws:username}", ""},
		{"space", "https://issuer.example/a b", ""},
		{"quote", `https://issuer.example/"`, ""},
		{"control character", "https://issuer.example/\n", ""},
		{"other letters", "https://issüer.example", ""},
		{"host ends in a dot", "https://issuer.example.", ""},
		{"host begins with a hyphen", "https://-issuer.example", ""},
		{"underscore", "https://is_suer.example", ""},
		{"empty part of the path", "https://issuer.example/a//b", ""},
		{"dots", "https://issuer.example/a/../b", ""},
		{"zone", "https://[fe80::1%25eth0]", ""},
		{"backslash", `https://issuer.example\@evil.example`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := iam.IssuerURL(tc.url)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("IssuerURL(%q) = %q, %v; want %q", tc.url, got, err, tc.want)
			}
		})
	}
}

// What is accepted can be named in a trust policy, and is what was given but for its
// scheme.
func FuzzIssuerURL(f *testing.F) {
	for _, seed := range []string{issuer, "https://issuer.example:8443/a", "https://[2001:db8::1]/", "https://x?y", "https://u@h/", "http://h", "https://h/%2e%2e/", "https://h/a/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := iam.IssuerURL(raw)
		if err != nil {
			return
		}
		if "https://"+got != raw {
			t.Errorf("IssuerURL(%q) = %q", raw, got)
		}
		doc := strings.Replace(trust(fmt.Sprintf(`{"Federated":%q}`, "arn:aws:iam::"+account+":oidc-provider/"+got)), "sts:AssumeRole", "sts:AssumeRoleWithWebIdentity", 1)
		if _, err := policy.ParseTrustPolicy(doc); err != nil && len(raw) <= 255 {
			t.Errorf("%q cannot be trusted: %v", raw, err)
		}
	})
}

func TestProviderTags(t *testing.T) {
	h := newHouse(t, func(q *iam.Quotas) { q.Tags = 2 })
	arn := h.createProvider(t, issuer)
	list := func() []iamapi.Tag {
		t.Helper()
		return must[iamapi.ListOpenIDConnectProviderTagsOutput](t, h, iamapi.OpListOpenIDConnectProviderTags, &iamapi.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn}).Tags
	}
	add := func(kv ...string) *iamapi.TagOpenIDConnectProviderInput {
		return &iamapi.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: tags(kv...)}
	}
	h.run(t, iamapi.OpTagOpenIDConnectProvider, add("a", "1", "b", "2"))
	h.run(t, iamapi.OpTagOpenIDConnectProvider, add("B", "3"))
	if diff := cmp.Diff(tags("a", "1", "B", "3"), list()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	h.refused(t, "LimitExceeded: Cannot exceed quota for TagsPerOpenIDConnectProvider: 2", iamapi.OpTagOpenIDConnectProvider, add("c", "4"))
	h.run(t, iamapi.OpUntagOpenIDConnectProvider, &iamapi.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"A", "none"}})
	if diff := cmp.Diff(tags("B", "3"), list()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

func TestUpdateRoleDescription(t *testing.T) {
	h := newHouse(t)
	h.createRole(t, "app")
	out := must[iamapi.UpdateRoleDescriptionOutput](t, h, iamapi.OpUpdateRoleDescription, &iamapi.UpdateRoleDescriptionInput{RoleName: "app", Description: "serves"})
	if out.Role == nil || out.Role.Description == nil || *out.Role.Description != "serves" {
		t.Errorf("answered %+v", out.Role)
	}
	if got := h.getRole(t, "app"); got.Description == nil || *got.Description != "serves" {
		t.Errorf("role %+v", got)
	}
}
