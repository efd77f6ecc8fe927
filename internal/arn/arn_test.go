package arn_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/arn"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want arn.ARN
	}{
		{"secret", "arn:aws:secretsmanager:us-east-1:123456789012:secret:a/b-AbCdEf",
			arn.ARN{"aws", "secretsmanager", "us-east-1", "123456789012", "secret:a/b-AbCdEf"}},
		{"china", "arn:aws-cn:kms:cn-north-1:000000000000:key/1-2",
			arn.ARN{"aws-cn", "kms", "cn-north-1", "000000000000", "key/1-2"}},
		{"no region", "arn:aws:iam::123456789012:root",
			arn.ARN{"aws", "iam", "", "123456789012", "root"}},
		{"owned by AWS", "arn:aws:iam::aws:policy/ReadOnlyAccess",
			arn.ARN{"aws", "iam", "", "aws", "policy/ReadOnlyAccess"}},
		{"no account", "arn:aws:s3:::bucket", arn.ARN{"aws", "s3", "", "", "bucket"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := arn.Parse(tt.in)
			if err != nil {
				t.Fatalf("Parse(%q) = %v", tt.in, err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("Parse(%q) (-want +got):\n%s", tt.in, d)
			}
			if got.String() != tt.in {
				t.Errorf("Parse(%q).String() = %q", tt.in, got)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ name, in string }{
		{"empty", ""},
		{"other scheme", "urn:aws:kms:us-east-1:123456789012:key/1"},
		{"five parts", "arn:aws:kms:us-east-1:123456789012"},
		{"no partition", "arn::kms:us-east-1:123456789012:key/1"},
		{"no service", "arn:aws::us-east-1:123456789012:key/1"},
		{"no resource", "arn:aws:kms:us-east-1:123456789012:"},
		{"upper-case region", "arn:aws:kms:US-EAST-1:123456789012:key/1"},
		{"short account", "arn:aws:kms:us-east-1:12345678901:key/1"},
		{"long account", "arn:aws:kms:us-east-1:1234567890123:key/1"},
		{"letters in account", "arn:aws:kms:us-east-1:12345678901a:key/1"},
		{"other digits", "arn:aws:kms:us-east-1:١٢٣٤٥٦:key/1"},
		{"line break", "arn:aws:kms:us-east-1:123456789012:key/1\nx"},
		{"not ASCII", "arn:aws:kms:us-east-1:123456789012:kéy"},
		{"too long", "arn:aws:kms:us-east-1:123456789012:" + strings.Repeat("x", 2048)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := arn.Parse(tt.in)
			if !errors.Is(err, arn.ErrSyntax) || got != (arn.ARN{}) {
				t.Errorf("Parse(%q) = %v, %v, want ErrSyntax", tt.in, got, err)
			}
		})
	}
}

func TestPartitionOf(t *testing.T) {
	tests := []struct {
		region, want string
		ok           bool
	}{
		{"us-east-1", "aws", true},
		{"mx-central-1", "aws", true},
		{"cn-northwest-1", "aws-cn", true},
		{"us-gov-west-1", "aws-us-gov", true},
		{"eusc-de-east-1", "aws-eusc", true},
		{"eu-nowhere-1", "", false},
		{"us-iso", "", false},
		{"us-iso-west-1", "aws-iso", true},
		{"us-isof-south-1", "aws-iso-f", true},
		{"eu-isoe-west-1", "aws-iso-e", true},
		{"west-1", "", false},
		{"west-2", "", false},
		{"us-west-", "", false},
		{"us-west-1 us-west-2", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		if got, ok := arn.PartitionOf(tt.region); got != tt.want || ok != tt.ok {
			t.Errorf("PartitionOf(%q) = %q, %v, want %q, %v", tt.region, got, ok, tt.want, tt.ok)
		}
	}
}

func TestRegions(t *testing.T) {
	all := arn.Regions()
	if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("Regions() = %v, want sorted and without repetition", all)
	}
	for _, r := range all {
		if _, ok := arn.PartitionOf(r); !ok {
			t.Errorf("PartitionOf(%q) knows no partition", r)
		}
		if _, err := arn.Parse("arn:aws:kms:" + r + ":123456789012:key/1"); err != nil {
			t.Errorf("Parse refuses region %q: %v", r, err)
		}
	}
}

// What is no region, but part of the list of them, has no partition.
func TestPartitionOfParts(t *testing.T) {
	all := arn.Regions()
	for _, r := range all {
		for i := range len(r) {
			for j := i + 1; j <= len(r); j++ {
				if _, ok := arn.PartitionOf(r[i:j]); ok != slices.Contains(all, r[i:j]) {
					t.Errorf("PartitionOf(%q) is %v", r[i:j], ok)
				}
			}
		}
	}
}

func TestValidAccount(t *testing.T) {
	for in, want := range map[string]bool{
		"000000000000": true, "123456789012": true,
		"": false, "aws": false, "12345678901": false, "12345678901x": false, "-12345678901": false,
	} {
		if got := arn.ValidAccount(in); got != want {
			t.Errorf("ValidAccount(%q) = %v, want %v", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("arn:aws:secretsmanager:us-east-1:123456789012:secret:a-AbCdEf")
	f.Add("arn:aws:iam::aws:policy/x")
	f.Add("arn:::::")
	f.Add("arn:aws:s3:::b:c:d")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := arn.Parse(s)
		if err != nil {
			if a != (arn.ARN{}) || !errors.Is(err, arn.ErrSyntax) {
				t.Errorf("Parse(%q) = %v, %v", s, a, err)
			}
			return
		}
		if a.String() != s || !arn.IsARN(s) {
			t.Errorf("Parse(%q).String() = %q", s, a)
		}
	})
}

func BenchmarkPartitionOf(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		arn.PartitionOf("us-west-2")
	}
}
