package iam_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"arca/internal/api/iamapi"
)

// A managed policy behaves as a list of texts, of which one is in force.
func TestPolicyVersionsModel(t *testing.T) {
	h := newHouse(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		type version struct{ id, doc string }
		doc := func(i int) string {
			return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"S%d","Effect":"Allow","Action":"iam:*","Resource":"*"}]}`, i)
		}
		name := fmt.Sprint("p", n)
		arn := ownPolicyARN(name)
		h.run(t, iamapi.OpCreatePolicy, &iamapi.CreatePolicyInput{PolicyName: name, PolicyDocument: doc(1)})
		versions, inForce, next := []version{{"v1", doc(1)}}, "v1", 2
		find := func(id string) int {
			return slices.IndexFunc(versions, func(v version) bool { return v.id == id })
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			id := fmt.Sprint("v", rapid.IntRange(1, next).Draw(rt, "version"))
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0, 1:
				asDefault := rapid.Bool().Draw(rt, "as default")
				_, err := h.call(iamapi.OpCreatePolicyVersion, &iamapi.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: doc(next), SetAsDefault: &asDefault})
				if fits := len(versions) < 5; fits != (err == nil) {
					rt.Fatalf("CreatePolicyVersion beside %d others: %v", len(versions), err)
				}
				if err == nil {
					fresh := version{fmt.Sprint("v", next), doc(next)}
					versions, next = append(versions, fresh), next+1
					if asDefault {
						inForce = fresh.id
					}
				}
			case 2:
				_, err := h.call(iamapi.OpDeletePolicyVersion, &iamapi.DeletePolicyVersionInput{PolicyArn: arn, VersionId: id})
				at := find(id)
				if want := at >= 0 && id != inForce; want != (err == nil) {
					rt.Fatalf("DeletePolicyVersion %s of %v with %s in force: %v", id, versions, inForce, err)
				}
				if err == nil {
					versions = slices.Delete(versions, at, at+1)
				}
			default:
				_, err := h.call(iamapi.OpSetDefaultPolicyVersion, &iamapi.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: id})
				if want := find(id) >= 0; want != (err == nil) {
					rt.Fatalf("SetDefaultPolicyVersion %s of %v: %v", id, versions, err)
				}
				if err == nil {
					inForce = id
				}
			}
			if got, want := h.inForce(t, arn), versions[find(inForce)].doc; got != want {
				rt.Fatalf("in force: %s, want %s", got, want)
			}
			var listed, want []string
			for _, v := range must[iamapi.ListPolicyVersionsOutput](t, h, iamapi.OpListPolicyVersions, &iamapi.ListPolicyVersionsInput{PolicyArn: arn}).Versions {
				listed = append(listed, *v.VersionId)
			}
			for _, v := range slices.Backward(versions) {
				want = append(want, v.id)
			}
			if !slices.Equal(listed, want) {
				rt.Fatalf("listed %q, want %q", listed, want)
			}
		}
	})
}
