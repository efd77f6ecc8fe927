package arn

import (
	"slices"
	"strings"
)

// Partitions whose names callers need.
const (
	PartitionAWS   = "aws"
	PartitionChina = "aws-cn"
	PartitionGov   = "aws-us-gov"
)

// AWS's regions, as its own SDKs list them: one text per partition, spaces
// between. They are texts because constants cannot be changed.
const (
	regionsAWS = "af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3" +
		" ap-south-1 ap-south-2 ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4" +
		" ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1" +
		" eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3" +
		" il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1" +
		" us-east-1 us-east-2 us-west-1 us-west-2"
	regionsChina = "cn-north-1 cn-northwest-1"
	regionsGov   = "us-gov-east-1 us-gov-west-1"
	regionsEUSC  = "eusc-de-east-1"
	regionsISO   = "us-iso-east-1 us-iso-west-1"
	regionsISOB  = "us-isob-east-1 us-isob-west-1"
	regionsISOE  = "eu-isoe-west-1"
	regionsISOF  = "us-isof-east-1 us-isof-south-1"
)

type partition struct{ name, regions string }

// partitions is in the order of likelihood. The array lives on the caller's stack.
func partitions() [8]partition {
	return [...]partition{
		{PartitionAWS, regionsAWS},
		{PartitionChina, regionsChina},
		{PartitionGov, regionsGov},
		{"aws-eusc", regionsEUSC},
		{"aws-iso", regionsISO},
		{"aws-iso-b", regionsISOB},
		{"aws-iso-e", regionsISOE},
		{"aws-iso-f", regionsISOF},
	}
}

// Regions lists every region of every partition, sorted. The slice is the caller's.
func Regions() []string {
	var all []string
	for _, p := range partitions() {
		all = append(all, strings.Fields(p.regions)...)
	}
	slices.Sort(all)
	return all
}

// PartitionOf names the partition of a region; ok is false for a region that AWS's
// list does not have. It allocates nothing, and is quick: it is part of the name of every
// key and so of every read of a secret.
func PartitionOf(region string) (name string, ok bool) {
	if !label(region) {
		return "", false
	}
	for _, p := range partitions() {
		if hasWord(p.regions, region) {
			return p.name, true
		}
	}
	return "", false
}

// hasWord reports whether a text of words with spaces between has a word, which is not
// empty and has no space. The words are not gone through one by one: a search for text is
// several times as fast.
func hasWord(text, word string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(word)
		if (begin == 0 || text[begin-1] == ' ') && (end == len(text) || text[end] == ' ') {
			return true
		}
		from = begin + 1
	}
}
