// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package cacerts

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // OpenSSL's hash of a subject is a file name, nothing is trusted because of it
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// Subject returns the hash of the subject of the certificate in a PEM file, eight hexadecimal digits, as openssl
// rehash has it. It reports false for a file that does not hold exactly one certificate.
func Subject(content []byte) (string, bool) {
	all := decode(content)
	if len(all) != 1 {
		return "", false
	}
	name, ok := subject(all[0])
	if !ok {
		return "", false
	}
	sum := sha1.Sum(name) //nolint:gosec // see the import
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum[:])), true
}

// subject returns the canonical form of a certificate's subject: the names in it one after the other, their values in
// UTF-8, in lower case, with single spaces. Only the structure on the way there is looked at: old certificates break
// rules.
func subject(der []byte) ([]byte, bool) {
	var certificate, tbs asn1.RawValue
	if _, err := asn1.Unmarshal(der, &certificate); err != nil || !certificate.IsCompound {
		return nil, false
	}
	if _, err := asn1.Unmarshal(certificate.Bytes, &tbs); err != nil || !tbs.IsCompound {
		return nil, false
	}
	fields, ok := elements(tbs.Bytes)
	if !ok || len(fields) == 0 {
		return nil, false
	}
	if fields[0].Class == asn1.ClassContextSpecific {
		fields = fields[1:] // the version
	}
	const position = 4 // after the serial number, the algorithm, the issuer and the validity
	if len(fields) <= position {
		return nil, false
	}
	names, ok := elements(fields[position].Bytes)
	var out []byte
	for _, set := range names {
		canonical, good := canonicalSet(set)
		ok = ok && good
		out = append(out, canonical...)
	}
	return out, ok
}

// elements splits the content of a structure.
func elements(content []byte) ([]asn1.RawValue, bool) {
	var out []asn1.RawValue
	for len(content) > 0 {
		var one asn1.RawValue
		rest, err := asn1.Unmarshal(content, &one)
		if err != nil {
			return nil, false
		}
		out = append(out, one)
		content = rest
	}
	return out, true
}

// canonicalSet returns the canonical form of a name, a set of types with their values.
func canonicalSet(set asn1.RawValue) ([]byte, bool) {
	pairs, ok := elements(set.Bytes)
	if !ok {
		return nil, false
	}
	var members [][]byte
	for _, pair := range pairs {
		parts, ok := elements(pair.Bytes)
		if !ok || len(parts) != 2 {
			return nil, false
		}
		content := slices.Concat(parts[0].FullBytes, canonicalValue(parts[1]))
		member, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
		if err != nil {
			return nil, false
		}
		members = append(members, member)
	}
	slices.SortFunc(members, bytes.Compare)
	out, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Join(members, nil)})
	return out, err == nil
}

// canonicalValue returns the canonical form of a value; what is no text stays.
func canonicalValue(v asn1.RawValue) []byte {
	text, ok := decodeText(v)
	if !ok {
		return v.FullBytes
	}
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
	words := strings.FieldsFunc(lower, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) })
	out, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(strings.Join(words, " "))})
	if err != nil {
		return v.FullBytes
	}
	return out
}

// decodeText returns a text of one of the types that are compared as texts.
func decodeText(v asn1.RawValue) (string, bool) {
	const visible, universal = 26, 28
	var runes []rune
	switch v.Tag {
	case asn1.TagUTF8String:
		return string(v.Bytes), true
	case asn1.TagPrintableString, asn1.TagIA5String, asn1.TagT61String, visible:
		for _, c := range v.Bytes {
			runes = append(runes, rune(c)) // T61 is taken for Latin-1
		}
	case asn1.TagBMPString:
		var units []uint16
		for pair := range slices.Chunk(v.Bytes, 2) {
			if len(pair) < 2 {
				return "", false
			}
			units = append(units, binary.BigEndian.Uint16(pair))
		}
		runes = utf16.Decode(units)
	case universal:
		for four := range slices.Chunk(v.Bytes, 4) {
			if len(four) < 4 {
				return "", false
			}
			runes = append(runes, rune(binary.BigEndian.Uint32(four)))
		}
	default:
		return "", false
	}
	return string(runes), v.Class == asn1.ClassUniversal
}
