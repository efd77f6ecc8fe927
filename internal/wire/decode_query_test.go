package wire_test

import (
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/iamapi"
	"arca/internal/api/stsapi"
	"arca/internal/wire"
)

// formKinds is opKinds in the Query protocol.
var formKinds = api.NewService(api.Service{Protocol: api.Query, Operations: []*api.Operation{
	{Name: "Kinds", Input: kindsShape, Output: kindsShape},
}}).Operations[0]

func TestDecodeForm(t *testing.T) {
	for _, tt := range []struct {
		name string
		op   *api.Operation
		form string
		want any
	}{
		{"selectors are no parameters", stsapi.OpGetCallerIdentity, "Action=GetCallerIdentity&Version=2011-06-15", &stsapi.GetCallerIdentityInput{}},
		{"string", iamapi.OpGetUser, "UserName=a%2Bb", &iamapi.GetUserInput{UserName: ptr("a+b")}},
		{"plus is a space", iamapi.OpCreatePolicy, "PolicyName=a&PolicyDocument=%7b+%7D", &iamapi.CreatePolicyInput{PolicyName: "a", PolicyDocument: "{ }"}},
		{"escaped name", iamapi.OpGetUser, "User%4eame=a", &iamapi.GetUserInput{UserName: ptr("a")}},
		{"escaped separator", iamapi.OpUntagUser, "UserName=a&TagKeys%2Emember%2e1=k", &iamapi.UntagUserInput{UserName: "a", TagKeys: []string{"k"}}},
		{"second equals sign", iamapi.OpGetUser, "UserName=a=b", &iamapi.GetUserInput{UserName: ptr("a=b")}},
		{"no equals sign", iamapi.OpUpdateRole, "RoleName=a&Description", &iamapi.UpdateRoleInput{RoleName: "a", Description: ptr("")}},
		{"empty parts", iamapi.OpGetUser, "&&UserName=a&", &iamapi.GetUserInput{UserName: ptr("a")}},
		{"semicolon is a letter", iamapi.OpUpdateRole, "RoleName=a&Description=b;c=d", &iamapi.UpdateRoleInput{RoleName: "a", Description: ptr("b;c=d")}},
		{"unknown parameters", iamapi.OpGetUser, "UserName=a&X=1&X=2&UserName2.member.7=x&username=b&X-Amz-Date=1&=y&.=z", &iamapi.GetUserInput{UserName: ptr("a")}},
		{"name with NUL", iamapi.OpUntagUser, "UserName=a&TagKeys.member.1=k&TagKeys%00member%002=l", &iamapi.UntagUserInput{UserName: "a", TagKeys: []string{"k"}}},
		{"boolean", iamapi.OpListPolicies, "OnlyAttached=true", &iamapi.ListPoliciesInput{OnlyAttached: ptr(true)}},
		{"integer", iamapi.OpListUsers, "MaxItems=007", &iamapi.ListUsersInput{MaxItems: ptr[int32](7)}},
		{"list", iamapi.OpUntagUser, "UserName=a&TagKeys.member.1=k&TagKeys.member.2=l", &iamapi.UntagUserInput{UserName: "a", TagKeys: []string{"k", "l"}}},
		{"list out of order", iamapi.OpUntagUser, "TagKeys.member.2=l&UserName=a&TagKeys.member.1=k", &iamapi.UntagUserInput{UserName: "a", TagKeys: []string{"k", "l"}}},
		{"more than nine elements", iamapi.OpUntagUser, "UserName=a" + elements(12), &iamapi.UntagUserInput{UserName: "a", TagKeys: strings.Fields("k1 k2 k3 k4 k5 k6 k7 k8 k9 k10 k11 k12")}},
		{"empty list", iamapi.OpUntagUser, "UserName=a&TagKeys=", &iamapi.UntagUserInput{UserName: "a", TagKeys: []string{}}},
		{"structures", iamapi.OpTagUser, "UserName=a&Tags.member.1.Key=k&Tags.member.1.Value=&Tags.member.2.Value=w&Tags.member.2.Key=l",
			&iamapi.TagUserInput{UserName: "a", Tags: []iamapi.Tag{{Key: "k"}, {Key: "l", Value: "w"}}}},
		{"member in lower case", stsapi.OpAssumeRole, "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole/a&RoleSessionName=ab&PolicyArns.member.1.arn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy/a",
			&stsapi.AssumeRoleInput{RoleArn: "arn:aws:iam::1:role/a", RoleSessionName: "ab", PolicyArns: []stsapi.PolicyDescriptorType{{Arn: ptr("arn:aws:iam::aws:policy/a")}}}},
		{"lists in lists", iamapi.OpSimulateCustomPolicy, "PolicyInputList.member.1=%7B%7D&ActionNames.member.1=a:b&ContextEntries.member.1.ContextKeyName=aws:x" +
			"&ContextEntries.member.1.ContextKeyValues.member.2=2&ContextEntries.member.1.ContextKeyValues.member.1=1&ContextEntries.member.1.ContextKeyType=stringList",
			&iamapi.SimulateCustomPolicyInput{PolicyInputList: []string{"{}"}, ActionNames: []string{"a:b"}, ContextEntries: []iamapi.ContextEntry{
				{ContextKeyName: ptr("aws:x"), ContextKeyValues: []string{"1", "2"}, ContextKeyType: ptr("stringList")}}}},
		{"all kinds", formKinds, "Time=2018-04-11T20:05:45.7139Z&Map.entry.1.key=k1&Map.entry.1.value.member.1=aa&Map.entry.2.value=&Map.entry.2.key=k2" +
			"&Inner.member.1.Must=aa&Inner.member.1.Count=-2&Lists.member.1.member.1=aa&Lists.member.2=&Long=9&Blob=AA%3D%3D",
			&kinds{Time: ptr(time.UnixMilli(1523477145713).UTC()), Map: map[string][]string{"k1": {"aa"}, "k2": {}},
				Inner: []inner{{"aa", -2}}, Lists: [][]string{{"aa"}, {}}, Long: 9, Blob: []byte{0}}},
		{"time with an offset, empty map", formKinds, "Time=2018-04-11T22:05:45%2B02:00&Map=&Long=0&Blob=",
			&kinds{Time: ptr(time.Unix(1523477145, 0).UTC()), Map: map[string][]string{}, Blob: []byte{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeInput(tt.op, []byte(tt.form))
			if err != nil {
				t.Fatalf("DecodeInput() error: %v", err)
			}
			if diff := same(tt.want, got); diff != "" {
				t.Errorf("DecodeInput() (-want +got):\n%s", diff)
			}
		})
	}
}

// elements are n tag keys.
func elements(n int) string {
	var b strings.Builder
	for i := range n {
		k := strconv.Itoa(i + 1)
		b.WriteString("&TagKeys.member." + k + "=k" + k)
	}
	return b.String()
}

func TestDecodeFormRefuses(t *testing.T) {
	const (
		syntax  = "MalformedQueryString: The query string contains a syntax error."
		nested  = "MalformedInput: Start of structure or map found where not expected"
		from1   = "MalformedInput: Elements of tagKeys must be numbered from 1"
		gap     = "MalformedInput: Elements of tagKeys must be numbered without gaps"
		member  = "MalformedInput: Elements of tagKeys must be named member.N"
		integer = "MalformedInput: STRING_VALUE can not be converted to an Integer"
	)
	untag, kinds := iamapi.OpUntagUser, formKinds
	for _, tt := range []struct {
		name string
		op   *api.Operation
		form string
		want string
	}{
		{"broken escape", untag, "UserName=%4", syntax},
		{"escape of no digits", untag, "UserName=%zz", syntax},
		{"broken escape in a name", untag, "User%Name=a", syntax},
		{"value that is not UTF-8", untag, "UserName=%ff", syntax},
		{"unknown value that is not UTF-8", untag, "X=%ff", syntax},
		{"name that is not UTF-8", untag, "%ff=a", syntax},
		{"too many parameters", untag, strings.Repeat("a&", 10_001), "MalformedQueryString: The request has too many parameters."},
		{"given twice", untag, "UserName=a&UserName=a", "MalformedInput: Parameter userName is given more than once"},
		{"given twice, once escaped", untag, "UserName=a&User%4Eame=b", "MalformedInput: Parameter userName is given more than once"},
		{"element twice", untag, "TagKeys.member.1=a&TagKeys.member.1=b", "MalformedInput: Parameter tagKeys.1.member is given more than once"},
		{"structure for a string", untag, "UserName.x=a", nested},
		{"string and structure", untag, "UserName=a&UserName.x=a", nested},
		{"list for a string", untag, "UserName.member.1=a", nested},
		{"element that is deeper", untag, "TagKeys.member.1.x=a", nested},
		{"string for a list", untag, "TagKeys=a", "MalformedInput: STRING_VALUE can not be converted to a list"},
		{"empty and full list", untag, "TagKeys=&TagKeys.member.1=a", "MalformedInput: STRING_VALUE can not be converted to a list"},
		{"string for a structure", iamapi.OpTagUser, "Tags.member.1=a", "MalformedInput: STRING_VALUE can not be converted to a structure"},
		{"flat list", untag, "TagKeys.1=a", member},
		{"other word", untag, "TagKeys.entry.1=a", member},
		{"member without number", untag, "TagKeys.member=a", member},
		{"empty number", untag, "TagKeys.member.=a", from1},
		{"zero", untag, "TagKeys.member.0=a", from1},
		{"negative", untag, "TagKeys.member.-1=a", from1},
		{"leading zero", untag, "TagKeys.member.1=a&TagKeys.member.01=b", from1},
		{"sign", untag, "TagKeys.member.%2B1=a", from1},
		{"huge number", untag, "TagKeys.member.99999999999999999999=a", from1},
		{"large number", untag, "TagKeys.member.2147483647=a", gap},
		{"gap", untag, "TagKeys.member.1=a&TagKeys.member.3=b", gap},
		{"integer", iamapi.OpListUsers, "MaxItems=1.0", integer},
		{"integer with sign", iamapi.OpListUsers, "MaxItems=%2B1", integer},
		{"integer with space", iamapi.OpListUsers, "MaxItems=+1", integer},
		{"empty integer", iamapi.OpListUsers, "MaxItems=", integer},
		{"integer of 33 bits", iamapi.OpListUsers, "MaxItems=4294967297", integer},
		{"hexadecimal", iamapi.OpListUsers, "MaxItems=0x1", integer},
		{"long", kinds, "Long=9223372036854775808", "MalformedInput: STRING_VALUE can not be converted to a Long"},
		{"boolean", iamapi.OpListPolicies, "OnlyAttached=True", "MalformedInput: STRING_VALUE can not be converted to a Boolean"},
		{"blob", kinds, "Blob=AA", "MalformedInput: Blob is not valid base64"},
		{"blob with stray bits", kinds, "Blob=AB%3D%3D", "MalformedInput: Blob is not valid base64"},
		{"blob with a line break", kinds, "Blob=AA%0A%3D%3D", "MalformedInput: Blob is not valid base64"},
		{"time", kinds, "Time=1523477145", "MalformedInput: STRING_VALUE can not be converted to a Timestamp"},
		{"year 0", kinds, "Time=0000-12-31T23:59:59Z", "MalformedInput: STRING_VALUE can not be converted to a Timestamp"},
		{"string for a map", kinds, "Map=a", "MalformedInput: STRING_VALUE can not be converted to a list"},
		{"map entry without parts", kinds, "Map.entry.1=a", "MalformedInput: STRING_VALUE can not be converted to a map"},
		{"map entry without a key", kinds, "Map.entry.1.value.member.1=a", "MalformedInput: Entry 1 of map has no key"},
		{"map key that is deeper", kinds, "Map.entry.1.key.x=a", nested},
		{"map key twice", kinds, "Map.entry.1.key=k1&Map.entry.1.value=&Map.entry.2.key=k1&Map.entry.2.value=", "MalformedInput: Map key is given more than once"},
		{"map key of an entry twice", kinds, "Map.entry.1.key=k1&Map.entry.1.key=k1", "MalformedInput: Parameter map is given more than once"},
		{"what is required", kinds, "Inner.member.1.Count=1&Map.entry.1.key=k1&Inner.member.2.Must=aa", "ValidationError: 5 validation errors detected: " +
			"Value null at 'map.k1.member' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'inner.1.member.must' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'inner.2.member.count' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'long' failed to satisfy constraint: Member must not be null; " +
			"Value null at 'blob' failed to satisfy constraint: Member must not be null"},
		{"constraints", stsapi.OpAssumeRole, "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa&RoleSessionName=Session1%3A2",
			"ValidationError: 1 validation error detected: Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint: " +
				`Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{"value of an enumeration", iamapi.OpUpdateAccessKey, "AccessKeyId=AKIDEXAMPLEAKIDEXAMPLE&Status=active",
			"ValidationError: 1 validation error detected: Value at 'status' failed to satisfy constraint: Member must satisfy enum value set: [Active, Inactive, Expired]"},
		{"constraint in a list of structures", iamapi.OpTagUser, "UserName=a&Tags.member.1.Key=&Tags.member.1.Value=v",
			"ValidationError: 2 validation errors detected: Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				`Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`},
		{"sensitive value", stsapi.OpAssumeRoleWithWebIdentity, "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa&RoleSessionName=ab&WebIdentityToken=hun",
			"ValidationError: 1 validation error detected: Value at 'webIdentityToken' failed to satisfy constraint: Member must have length greater than or equal to 4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := wire.DecodeInput(tt.op, []byte(tt.form))
			if err == nil {
				t.Fatalf("DecodeInput() = %+v, want an error", in)
			}
			if err.Error() != tt.want {
				t.Errorf("DecodeInput() =\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

// appendForm writes a value as AWS's clients do, parameters in an order of rapid's.
func appendForm(form map[string]string, prefix string, sh *api.Shape, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	switch sh.Kind {
	case api.Structure:
		for _, f := range sh.Fields {
			appendForm(form, strings.TrimPrefix(prefix+"."+f.Name, "."), f.Shape, v.Field(f.Index))
		}
	case api.List:
		if !v.IsNil() && v.Len() == 0 {
			form[prefix] = ""
		}
		for i := range v.Len() {
			appendForm(form, prefix+".member."+strconv.Itoa(i+1), sh.Elem, v.Index(i))
		}
	case api.Map:
		if !v.IsNil() && v.Len() == 0 {
			form[prefix] = ""
		}
		for i, k := range v.MapKeys() {
			entry := prefix + ".entry." + strconv.Itoa(i+1)
			form[entry+".key"] = k.String()
			appendForm(form, entry+".value", sh.Elem, v.MapIndex(k))
		}
	case api.Timestamp:
		form[prefix] = v.Interface().(time.Time).Format(time.RFC3339Nano)
	case api.Blob:
		if !v.IsNil() {
			form[prefix] = encode64(v.Bytes())
		}
	case api.Boolean:
		form[prefix] = strconv.FormatBool(v.Bool())
	case api.Integer, api.Long:
		form[prefix] = strconv.FormatInt(v.Int(), 10)
	case api.String:
		form[prefix] = v.String()
	}
}

// TestOrderOfFormMeansNothing reads random inputs whose parameters come in random
// order, with unknown ones between them.
func TestOrderOfFormMeansNothing(t *testing.T) {
	ops := append([]*api.Operation{formKinds}, iamapi.Service.Operations...)
	ops = append(ops, stsapi.Service.Operations...)
	rapid.Check(t, func(t *rapid.T) {
		op := rapid.SampledFrom(ops).Draw(t, "op")
		v := reflect.New(op.Input.Type)
		fill(t, op.Input, v.Elem())
		asFormCan(op.Input, v.Elem())
		form := map[string]string{}
		appendForm(form, "", op.Input, v.Elem())
		for range rapid.IntRange(0, 3).Draw(t, "unknown") {
			form["~"+rapid.String().Draw(t, "name")] = rapid.String().Draw(t, "value")
		}
		var names []string
		for name := range form {
			names = append(names, name)
		}
		var parts []string
		for _, name := range rapid.Permutation(names).Draw(t, "order") {
			parts = append(parts, url.QueryEscape(name)+"="+url.QueryEscape(form[name]))
		}
		text := strings.Join(parts, "&")
		got, err := wire.DecodeForm(op.Input, []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := same(v.Interface(), got); diff != "" {
			t.Fatalf("%s (-sent +read):\n%s", text, diff)
		}
	})
}

// FuzzDecodeForm checks that what is read is what package url reads, that reading
// does not depend on the order of parameters, and that answers stay small.
func FuzzDecodeForm(f *testing.F) {
	ops := append([]*api.Operation{formKinds}, iamapi.Service.Operations...)
	ops = append(ops, stsapi.Service.Operations...)
	for i, form := range []string{
		"Action=GetUser&Version=2010-05-08&UserName=a", "UserName=a%2Bb+c&&=&", "TagKeys.member.1=k&TagKeys.member.2=l&UserName=a",
		"Tags.member.1.Key=k&Tags.member.1.Value=v", "Tags=&UserName", "Tags.member.01.Key=k", "TagKeys.member.99999999999=x&TagKeys.member.1=",
		"Map.entry.1.key=k&Map.entry.1.value.member.1=v&Lists.member.1.member.1=aa&Long=1&Blob=AA==&Time=2018-04-11T20:05:45Z",
		"UserName=%ff", "UserName=%4", "A.b=1&A=2&A-b=3", "TagKeys%00member%001=x", "....=1", "Inner.member.1=&Inner.member.1.Must=",
	} {
		f.Add(i, []byte(form))
	}
	f.Fuzz(func(t *testing.T, n int, form []byte) {
		op := ops[int(uint(n)%uint(len(ops)))]
		if _, err := wire.DecodeInput(op, form); err != nil {
			if !utf8.ValidString(err.Message) || len(err.Message) > 8*len(form)+100_000 {
				t.Fatalf("%q: error of %d bytes: %.200q", form, len(err.Message), err.Message)
			}
		}
		v, err := wire.DecodeForm(op.Input, form)
		if err != nil {
			return
		}
		// Package url takes a semicolon for a mistake.
		values, perr := url.ParseQuery(strings.ReplaceAll(string(form), ";", "%3B"))
		if perr != nil {
			t.Fatalf("%q: url: %v", form, perr)
		}
		for _, fld := range op.Input.Fields {
			if fv := reflect.ValueOf(v).Elem().Field(fld.Index); fld.Shape.Kind == api.String && values.Has(fld.Name) {
				if fv.Kind() == reflect.Pointer {
					fv = fv.Elem()
				}
				if all := values[fld.Name]; len(all) != 1 || fv.String() != all[0] {
					t.Fatalf("%q: %s = %q, package url reads %q", form, fld.Name, fv.String(), all)
				}
			}
		}
		again, err := wire.DecodeForm(op.Input, []byte(values.Encode()))
		if err != nil {
			t.Fatalf("%q reordered: %v", form, err)
		}
		if diff := same(v, again); diff != "" {
			t.Fatalf("%q reordered:\n%s", form, diff)
		}
	})
}
