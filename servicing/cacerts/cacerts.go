// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cacerts knows how the store of trusted certificates is made of certificate files: the bundle, as Debian's
// update-ca-certificates does it, and the links by which OpenSSL finds a certificate, as openssl rehash does. It is
// about contents only and reads no files.
package cacerts

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"path"
	"slices"
	"strings"
)

// Where things are, relative to the root.
const (
	ConfigPath = "etc/ca-certificates.conf"          // which of the system's certificates are trusted
	SystemDir  = "usr/share/ca-certificates"         // the system's certificates
	LocalDir   = "usr/local/share/ca-certificates"   // the user's
	StoreDir   = "etc/ssl/certs"                     // the links
	BundlePath = "etc/ssl/certs/ca-certificates.crt" // all that are trusted
)

// Key tells which certificate a line of the configuration is about, deselected ("!") or not.
func Key(line string) string {
	if strings.HasPrefix(line, "#") {
		return ""
	}
	return strings.TrimPrefix(line, "!")
}

// Selected returns the paths, below SystemDir, of the certificates that a configuration selects.
func Selected(config []byte) []string {
	var out []string
	for line := range strings.SplitSeq(string(config), "\n") {
		if line != "" && line[0] != '#' && line[0] != '!' {
			out = append(out, line)
		}
	}
	return out
}

// StoreName returns the name of the link in the store to the certificate file with a path.
func StoreName(file string) string {
	name := strings.NewReplacer(
		" ", "_", "(", "=", ")", "=", ",", "_",
	).Replace(strings.TrimSuffix(path.Base(file), ".crt"))
	return name + ".pem"
}

// Certificate is what identifies a certificate.
type Certificate [sha256.Size]byte

// Certificates returns the certificates in a PEM file, in its order.
func Certificates(content []byte) []Certificate {
	var out []Certificate
	for _, der := range decode(content) {
		out = append(out, sha256.Sum256(der))
	}
	return out
}

// decode returns the encoded certificates in a PEM file.
func decode(content []byte) [][]byte {
	var out [][]byte
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return out
		}
		if slices.Contains([]string{"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"}, block.Type) {
			out = append(out, block.Bytes)
		}
	}
}

// Merge makes the bundle of the result: of the trusted files in their order, with what the user put into the bundle
// by hand and without what the user took out of it. available are all files that the user had. A system without files
// has nothing but the bundle: then it is the base's with the same changes.
func Merge(old, base, user []byte, trusted, available [][]byte) []byte {
	inOld, inUser, had := set(old), set(user), set(available...)
	gone := func(c Certificate) bool { return inOld[c] && !inUser[c] && (had[c] || len(trusted) == 0) }
	listed := set(trusted...)
	out := bundle(trusted, gone)
	if len(trusted) == 0 {
		listed = set(base)
		out = base
		if slices.ContainsFunc(Certificates(base), gone) {
			out = pick(base, func(c Certificate) bool { return !gone(c) })
		}
	}
	own := pick(user, func(c Certificate) bool { return !inOld[c] && !had[c] && !listed[c] })
	return slices.Concat(out, own)
}

// bundle makes the bundle out of files. One all of whose certificates are gone is left out.
func bundle(files [][]byte, gone func(Certificate) bool) []byte {
	var out []byte
	for _, content := range files {
		all := Certificates(content)
		if len(all) > 0 && !slices.ContainsFunc(all, func(c Certificate) bool { return !gone(c) }) {
			continue
		}
		out = append(out, content...)
		if len(content) > 0 && !bytes.HasSuffix(content, []byte("\n")) {
			out = append(out, '\n')
		}
	}
	return out
}

// set returns the certificates in PEM files.
func set(files ...[]byte) map[Certificate]bool {
	out := make(map[Certificate]bool)
	for _, content := range files {
		for _, c := range Certificates(content) {
			out[c] = true
		}
	}
	return out
}

// pick returns the certificates of a bundle for which keep says so, each once.
func pick(bundle []byte, keep func(Certificate) bool) []byte {
	var out []byte
	seen := make(map[Certificate]bool)
	for _, der := range decode(bundle) {
		c := Certificate(sha256.Sum256(der))
		if keep(c) && !seen[c] {
			seen[c] = true
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
		}
	}
	return out
}
