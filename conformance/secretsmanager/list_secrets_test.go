package secretsmanager_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

func filter(key types.FilterNameStringType, values ...string) types.Filter {
	return types.Filter{Key: key, Values: values}
}

// list returns the names of the test's secrets that a call finds, in its order,
// without the prefix. The prefix is one more filter, so other tests do not show.
func (k *kit) list(in secretsmanager.ListSecretsInput) []string {
	k.t.Helper()
	in.Filters = append(in.Filters, filter(types.FilterNameStringTypeName, k.prefix))
	names := []string{}
	pages := secretsmanager.NewListSecretsPaginator(k, &in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(k.ctx())
		if err != nil {
			k.t.Fatal(err)
		}
		if in.MaxResults != nil && len(page.SecretList) > int(*in.MaxResults) {
			k.t.Errorf("a page of at most %d has %d secrets", *in.MaxResults, len(page.SecretList))
		}
		for _, s := range page.SecretList {
			names = append(names, strings.TrimPrefix(aws.ToString(s.Name), k.prefix))
		}
	}
	return names
}

// found is list with one filter, sorted.
func (k *kit) found(key types.FilterNameStringType, values ...string) []string {
	k.t.Helper()
	return slices.Sorted(slices.Values(k.list(secretsmanager.ListSecretsInput{Filters: []types.Filter{filter(key, values...)}})))
}

func TestListSecretsMembers(t *testing.T) {
	k := newKit(t)
	name := k.empty("s")
	entry := func(planned bool) map[string]any {
		t.Helper()
		out := ask(t, "ListSecrets", in{"IncludePlannedDeletion": planned, "Filters": []in{{"Key": "name", "Values": []string{name}}}})
		wantMembers(t, out, "SecretList")
		list := out["SecretList"].([]any)
		if len(list) != 1 {
			t.Fatalf("%d secrets, want 1", len(list))
		}
		return list[0].(map[string]any)
	}
	base := []string{"ARN", "Name", "CreatedDate", "LastChangedDate"}
	wantMembers(t, entry(false), base...)
	id := k.put(name, "v")
	k.must(k.UpdateSecret(k.ctx(), &secretsmanager.UpdateSecretInput{SecretId: &name, Description: aws.String("d")}))
	k.must(nil, k.tag(name, "k", "v"))
	e := entry(false)
	wantMembers(t, e, append(base, "Description", "Tags", "SecretVersionsToStages")...)
	if diff := cmp.Diff(map[string]any{id: []any{"AWSCURRENT"}}, e["SecretVersionsToStages"]); diff != "" {
		t.Errorf("SecretVersionsToStages (-want +got):\n%s", diff)
	}
	k.must(k.delete(name, 7, nil))
	wantMembers(t, entry(true), append(base, "Description", "Tags", "SecretVersionsToStages", "DeletedDate")...)
}

func TestListSecretsPages(t *testing.T) {
	k := newKit(t)
	var want []string
	for i := range 23 {
		name := fmt.Sprintf("s%02d", i)
		k.empty(name)
		want = append(want, name)
	}
	for _, size := range []int32{1, 7, 22, 23, 100} {
		if diff := cmp.Diff(want, k.list(secretsmanager.ListSecretsInput{MaxResults: &size, SortBy: types.SortByTypeName, SortOrder: types.SortOrderTypeAsc})); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", size, diff)
		}
	}
	// Without a size of its own a call still gives everything in the end.
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(k.list(secretsmanager.ListSecretsInput{})))); diff != "" {
		t.Errorf("default pages (-want +got):\n%s", diff)
	}
}

// What is created or deleted between two pages neither hides nor doubles the rest.
func TestListSecretsPagesWhileChanging(t *testing.T) {
	k := newKit(t)
	for i := range 6 {
		k.empty(fmt.Sprintf("s%d", i))
	}
	pages := secretsmanager.NewListSecretsPaginator(k, &secretsmanager.ListSecretsInput{
		MaxResults: aws.Int32(2), SortBy: types.SortByTypeName, SortOrder: types.SortOrderTypeAsc,
		Filters: []types.Filter{filter(types.FilterNameStringTypeName, k.prefix)},
	})
	var got []string
	for first := true; pages.HasMorePages(); first = false {
		page, err := pages.NextPage(k.ctx())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.SecretList {
			got = append(got, strings.TrimPrefix(*s.Name, k.prefix))
		}
		if first {
			k.empty("s0a")
			k.must(k.delete(k.prefix+"s1", 0, aws.Bool(true)))
			k.must(k.delete(k.prefix+"s2", 0, aws.Bool(true)))
		}
	}
	for _, stayed := range []string{"s0", "s1", "s3", "s4", "s5"} {
		if n := len(slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s != stayed })); n != 1 {
			t.Errorf("%s comes %d times in %v, want once", stayed, n, got)
		}
	}
}

func TestListSecretsOrder(t *testing.T) {
	k := newKit(t)
	for _, name := range []string{"b", "c", "a"} {
		k.secret(name, "v")
	}
	k.put(k.prefix+"b", "w") // changed last
	for _, tc := range []struct {
		by    types.SortByType
		order types.SortOrderType
		want  []string
	}{
		{"", "", []string{"b", "c", "a"}},
		{types.SortByTypeCreatedDate, types.SortOrderTypeAsc, []string{"b", "c", "a"}},
		{types.SortByTypeCreatedDate, types.SortOrderTypeDesc, []string{"a", "c", "b"}},
		{types.SortByTypeName, types.SortOrderTypeAsc, []string{"a", "b", "c"}},
		{types.SortByTypeName, types.SortOrderTypeDesc, []string{"c", "b", "a"}},
		{types.SortByTypeLastChangedDate, types.SortOrderTypeAsc, []string{"c", "a", "b"}},
		{types.SortByTypeLastChangedDate, types.SortOrderTypeDesc, []string{"b", "a", "c"}},
	} {
		for _, size := range []*int32{nil, aws.Int32(1)} {
			got := k.list(secretsmanager.ListSecretsInput{SortBy: tc.by, SortOrder: tc.order, MaxResults: size})
			if !slices.Equal(got, tc.want) {
				t.Errorf("sorted by %q %q, pages of %d: %v, want %v", tc.by, tc.order, aws.ToInt32(size), got, tc.want)
			}
		}
	}
}

func TestListSecretsPlannedDeletion(t *testing.T) {
	k := newKit(t)
	k.secret("stays", "v")
	k.scheduled("goes")
	if got := k.list(secretsmanager.ListSecretsInput{}); !slices.Equal(got, []string{"stays"}) {
		t.Errorf("list = %v, want stays only", got)
	}
	if got := k.list(secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)}); !slices.Equal(got, []string{"stays", "goes"}) {
		t.Errorf("list with planned deletions = %v, want both", got)
	}
}

func TestListSecretsFilterNameAndTags(t *testing.T) {
	k := newKit(t)
	for name, tags := range map[string][]string{
		"prod/db":  {"Team", "payments", "stage", "Prod"},
		"prod/web": {"Team", "shop"},
		"test/db":  {"team", "payments"},
		"Prod/x":   nil,
	} {
		full := k.prefix + name
		k.create(&secretsmanager.CreateSecretInput{Name: &full, Tags: tagList(tags...)})
	}
	p := k.prefix
	for _, tc := range []struct {
		name   string
		key    types.FilterNameStringType
		values []string
		want   []string
	}{
		{"name is a prefix", "name", []string{p + "prod"}, []string{"prod/db", "prod/web"}},
		{"name minds case", "name", []string{p + "Prod"}, []string{"Prod/x"}},
		{"name is no substring", "name", []string{"db"}, []string{}},
		{"values are OR", "name", []string{p + "prod/db", p + "test"}, []string{"prod/db", "test/db"}},
		{"negated name", "name", []string{"!" + p + "prod"}, []string{"Prod/x", "test/db"}},
		{"tag key", "tag-key", []string{"Te"}, []string{"prod/db", "prod/web"}},
		{"tag key minds case", "tag-key", []string{"team"}, []string{"test/db"}},
		{"tag value", "tag-value", []string{"pay"}, []string{"prod/db", "test/db"}},
		{"tag value minds case", "tag-value", []string{"prod"}, []string{}},
		{"negated tag key", "tag-key", []string{"!Team"}, []string{"Prod/x", "test/db"}},
		{"primary region", "primary-region", []string{"us"}, []string{}},
	} {
		if got := k.found(tc.key, tc.values...); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %s %q finds %v, want %v", tc.name, tc.key, tc.values, got, tc.want)
		}
	}
	both := k.list(secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("tag-key", "Team"), filter("tag-value", "payments")}})
	if !slices.Equal(both, []string{"prod/db"}) {
		t.Errorf("two filters find %v, want prod/db: they are AND", both)
	}
	twice := k.list(secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("tag-key", "Team"), filter("tag-key", "stage")}})
	if !slices.Equal(twice, []string{"prod/db"}) {
		t.Errorf("one key twice finds %v, want prod/db: it is AND", twice)
	}
}

func TestListSecretsFilterDescription(t *testing.T) {
	k := newKit(t)
	for name, description := range map[string]string{
		"one-two": "one and two", "s1": "a secret", "s2": "an secret", "s3": "asecret", "s4": "thesecret",
	} {
		full := k.prefix + name
		k.create(&secretsmanager.CreateSecretInput{Name: &full, Description: &description})
	}
	all := []string{"one-two", "s1", "s2", "s3", "s4"}
	for value, want := range map[string][]string{
		"one two":  {"one-two"},
		"o t":      {"one-two"},
		"t":        {"one-two", "s4"},
		"a":        {"one-two", "s1", "s2", "s3"},
		"a secret": {"s1", "s2"},
		"A SECRET": {"s1", "s2"},
		"!a":       {"s4"},
		"!c":       all,
	} {
		if got := k.found("description", value); !slices.Equal(got, want) {
			t.Errorf("description %q finds %v, want %v", value, got, want)
		}
	}
}

func TestListSecretsFilterAll(t *testing.T) {
	k := newKit(t)
	// The prefix of the test is in every name, and hexadecimal: words of a to f and
	// digits could be found in it. None of the values below is such a word, or the
	// beginning of the first one, but for those that say so.
	for name, description := range map[string]string{
		"SecretOneX":           "",
		"ThirdsecretX":         "",
		"described":            "DescTwo",
		"SecretFTagX":          "",
		"uat/COMPANY/x":        "",
		"uat/COMPANYthings/x":  "",
		"prod/AppBeta/x":       "",
		"prod_AppGamma_x":      "",
		"prod+AppDelta+x":      "",
		"prod=AppEpsilon=x":    "",
		"prod.AppZeta.x":       "",
		"prod@AppEta@x":        "",
		"tagged":               "",
		"with/description/too": "words in between",
	} {
		full := k.prefix + name
		in := &secretsmanager.CreateSecretInput{Name: &full}
		if description != "" {
			in.Description = &description
		}
		if name == "tagged" {
			in.Tags = tagList("KeyTag", "ValueTag")
		}
		k.create(in)
	}
	for _, tc := range []struct {
		value     string
		finds     []string
		findsNot  []string
		onlyFinds []string
	}{
		{value: "SecretOne", onlyFinds: []string{"SecretOneX"}},
		{value: "Secret", finds: []string{"SecretOneX", "SecretFTagX"}, findsNot: []string{"ThirdsecretX"}},
		{value: "secret", finds: []string{"SecretOneX", "SecretFTagX"}, findsNot: []string{"ThirdsecretX"}},
		{value: "sec", finds: []string{"SecretOneX"}, findsNot: []string{"ThirdsecretX"}},
		{value: "ret", onlyFinds: []string{}},
		{value: "t", finds: []string{"ThirdsecretX", "described", "SecretFTagX"}},
		{value: "d", finds: []string{"described"}},
		{value: "d t", finds: []string{"described"}},
		{value: "company", onlyFinds: []string{"uat/COMPANY/x"}},
		{value: "Ythings", onlyFinds: []string{"uat/COMPANYthings/x"}},
		{value: "things", onlyFinds: []string{}},
		{value: "pany", onlyFinds: []string{}},
		{value: "N", onlyFinds: []string{}},
		{value: "AppBeta", onlyFinds: []string{"prod/AppBeta/x"}},
		{value: "Gamma", onlyFinds: []string{"prod_AppGamma_x"}},
		{value: "AppDelta", onlyFinds: []string{"prod+AppDelta+x"}},
		{value: "Epsilon", onlyFinds: []string{"prod=AppEpsilon=x"}},
		{value: "zeta", onlyFinds: []string{"prod.AppZeta.x"}},
		{value: "AppEta", onlyFinds: []string{"prod@AppEta@x"}},
		{value: "x", finds: []string{"prod/AppBeta/x", "prod_AppGamma_x", "uat/COMPANY/x"}},
		{value: "KeyTag", onlyFinds: []string{"tagged"}},
		{value: "value", onlyFinds: []string{"tagged"}},
		{value: "between", onlyFinds: []string{"with/description/too"}},
		{value: "+", onlyFinds: []string{}},
	} {
		got := k.found("all", tc.value)
		if tc.onlyFinds != nil {
			if !slices.Equal(got, tc.onlyFinds) {
				t.Errorf("all %q finds %v, want %v", tc.value, got, tc.onlyFinds)
			}
			continue
		}
		for _, name := range tc.finds {
			if !slices.Contains(got, name) {
				t.Errorf("all %q finds %v, want %s among them", tc.value, got, name)
			}
		}
		for _, name := range tc.findsNot {
			if slices.Contains(got, name) {
				t.Errorf("all %q finds %v, and should not find %s", tc.value, got, name)
			}
		}
	}
}

func TestListSecretsErrors(t *testing.T) {
	k := newKit(t)
	k.empty("a")
	k.empty("b")
	list := func(in secretsmanager.ListSecretsInput) error {
		_, err := k.ListSecrets(k.ctx(), &in)
		return err
	}
	refused(t, askAnswer(t, "ListSecrets", in{"Filters": []in{{"Values": []string{"v"}}}}), "InvalidParameterException", "Invalid filter key")
	refused(t, askAnswer(t, "ListSecrets", in{"Filters": []in{{"Key": "name"}}}), "InvalidParameterException", "Invalid filter values for key: name")
	wantInvalid(t, list(secretsmanager.ListSecretsInput{MaxResults: aws.Int32(0)}), "Value '0' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1")
	wantInvalid(t, list(secretsmanager.ListSecretsInput{MaxResults: aws.Int32(101)}), "Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100")
	unknown := list(secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("invalid", "v")}})
	wantCode(t, unknown, "ValidationException", "")
	if text := fmt.Sprint(unknown); !strings.Contains(text, "1 validation error detected: Value 'invalid' at 'filters.1.member.key' failed to satisfy constraint: Member must satisfy enum value set: [") {
		t.Errorf("unknown key: %s", text)
	}
	wantCode(t, list(secretsmanager.ListSecretsInput{Filters: []types.Filter{filter("name", "a*")}}), "ValidationException", "")
	wantCode(t, list(secretsmanager.ListSecretsInput{SortBy: "size"}), "ValidationException", "")
	wantError[*types.InvalidNextTokenException](t, list(secretsmanager.ListSecretsInput{NextToken: aws.String("made-up")}), "")

	page, err := k.ListSecrets(k.ctx(), &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(1), Filters: []types.Filter{filter("name", k.prefix)}})
	if err != nil {
		t.Fatal(err)
	}
	wantError[*types.InvalidNextTokenException](t, list(secretsmanager.ListSecretsInput{NextToken: page.NextToken, Filters: []types.Filter{filter("name", "other")}}), "")
}
