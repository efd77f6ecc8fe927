package iam_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"arca/conformance/identity"
)

const thumbprint = "990F4193972F2BECF12DDEDA5237F9C952F20D9E"

func TestOpenIDConnectProvider(t *testing.T) {
	k := identity.New(t, shared)
	host := k.Prefix + "issuer.example.com/path/x"
	made, err := k.IAM.CreateOpenIDConnectProvider(k.Ctx(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://" + host), ClientIDList: []string{"sts.amazonaws.com", "app"}, ThumbprintList: []string{thumbprint}, Tags: identity.Tags("a", "b")})
	if err != nil {
		t.Fatal(err)
	}
	arn := aws.ToString(made.OpenIDConnectProviderArn)
	k.Cleanup(func(ctx ctx) {
		_, _ = k.IAM.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	})
	if arn != "arn:aws:iam::"+k.ID+":oidc-provider/"+host || len(made.Tags) != 1 {
		t.Errorf("CreateOpenIDConnectProvider = %s %v", arn, made.Tags)
	}
	get := func() *iam.GetOpenIDConnectProviderOutput {
		t.Helper()
		out, err := k.IAM.GetOpenIDConnectProvider(k.Ctx(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	has := func(clients []string, prints []string) {
		t.Helper()
		got := get()
		slices.Sort(got.ClientIDList)
		slices.Sort(clients)
		if !slices.Equal(got.ClientIDList, clients) || !slices.EqualFunc(got.ThumbprintList, prints, strings.EqualFold) {
			t.Errorf("provider has clients %q, thumbprints %q; want %q, %q", got.ClientIDList, got.ThumbprintList, clients, prints)
		}
	}
	if got := get(); aws.ToString(got.Url) != host || got.CreateDate == nil {
		t.Errorf("Url = %s", aws.ToString(got.Url)) // without its scheme, as AWS has it
	}
	has([]string{"app", "sts.amazonaws.com"}, []string{thumbprint})
	for range 2 {
		k.Must(k.IAM.AddClientIDToOpenIDConnectProvider(k.Ctx(), &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, ClientID: aws.String("third")}))
	}
	has([]string{"app", "sts.amazonaws.com", "third"}, []string{thumbprint})
	for range 2 {
		k.Must(k.IAM.RemoveClientIDFromOpenIDConnectProvider(k.Ctx(), &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, ClientID: aws.String("app")}))
	}
	other := strings.Repeat("ab", 20)
	k.Must(k.IAM.UpdateOpenIDConnectProviderThumbprint(k.Ctx(), &iam.UpdateOpenIDConnectProviderThumbprintInput{OpenIDConnectProviderArn: &arn, ThumbprintList: []string{other, thumbprint}}))
	has([]string{"sts.amazonaws.com", "third"}, []string{other, thumbprint})
	list, err := k.IAM.ListOpenIDConnectProviders(k.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range list.OpenIDConnectProviderList {
		if aws.ToString(p.Arn) == arn {
			found++
		}
	}
	if found != 1 {
		t.Errorf("listed %d times", found)
	}
	wantExists(t, errOf(k.IAM.CreateOpenIDConnectProvider(k.Ctx(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://" + host)})),
		"Provider with url https://"+host+" already exists.")
	k.Must(k.IAM.DeleteOpenIDConnectProvider(k.Ctx(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn}))
	wantMissing(t, errOf(k.IAM.GetOpenIDConnectProvider(k.Ctx(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})),
		"OpenIDConnect Provider not found for arn "+arn)
}

func TestOpenIDConnectProviderErrors(t *testing.T) {
	k := identity.New(t, shared)
	create := func(url string, change ...func(*iam.CreateOpenIDConnectProviderInput)) error {
		in := &iam.CreateOpenIDConnectProviderInput{Url: &url}
		for _, c := range change {
			c(in)
		}
		return errOf(k.IAM.CreateOpenIDConnectProvider(k.Ctx(), in))
	}
	good := "https://" + k.Prefix + "issuer.example.com"
	for _, url := range []string{"http://issuer.example.com", "issuer.example.com", "https://", "https://issuer.example.com/?a=b", "https://issuer.example.com/#a", "https://user@issuer.example.com/"} {
		if err := create(url); err == nil {
			t.Errorf("URL %s is taken", url)
		}
	}
	wantInvalid(t, create(good, func(in *iam.CreateOpenIDConnectProviderInput) { in.ThumbprintList = []string{"abc"} }), "")
	if err := create(good, func(in *iam.CreateOpenIDConnectProviderInput) { in.ThumbprintList = []string{strings.Repeat("g", 40)} }); err == nil {
		t.Error("a thumbprint that is none is taken")
	}
	wantInvalidInput(t, create(good, func(in *iam.CreateOpenIDConnectProviderInput) {
		in.ThumbprintList = slices.Repeat([]string{thumbprint}, 6)
	}), "Thumbprint list must contain fewer than 5 entries.")
	many := func(in *iam.CreateOpenIDConnectProviderInput) {
		for i := range 101 {
			in.ClientIDList = append(in.ClientIDList, "client-"+strconv.Itoa(i))
		}
	}
	wantLimit(t, create(good, many), "")
	none := "arn:aws:iam::" + k.ID + ":oidc-provider/" + k.Prefix + "none.example.com"
	wantMissing(t, errOf(k.IAM.AddClientIDToOpenIDConnectProvider(k.Ctx(), &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: &none, ClientID: aws.String("x")})),
		"OpenIDConnect Provider not found for arn "+none)
	if list, err := k.IAM.ListOpenIDConnectProviders(k.Ctx(), nil); err != nil || slices.ContainsFunc(list.OpenIDConnectProviderList, containsPrefix(k.Prefix)) {
		t.Errorf("a provider that was refused is listed, or %v", err)
	}
}
