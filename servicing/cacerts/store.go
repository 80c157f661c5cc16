// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package cacerts

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// File is a file, or a link to one, in the store.
type File struct {
	Name    string
	Content []byte
}

// IsHash reports whether a name in the store is that of a link by the hash of a subject: eight digits and a number.
func IsHash(name string) bool {
	hash, number, ok := strings.Cut(name, ".")
	return ok && len(hash) == 8 && strings.Trim(hash, "0123456789abcdef") == "" &&
		number != "" && strings.Trim(number, "0123456789") == ""
}

// IsCertificate reports whether a name in the store is one that openssl rehash looks at.
func IsCertificate(name string) bool {
	return slices.Contains([]string{".pem", ".crt", ".cer", ".crl"}, path.Ext(name))
}

// Links returns which links to certificate files the store lacks, by name with their targets, and which it has too
// many, with "": those to files of the system's or the user's certificates that are not trusted. links holds the
// names in the store with the targets of those that are links.
func Links(links map[string]string, trusted []string) map[string]string {
	out := make(map[string]string)
	known := make(map[string]bool)
	for _, file := range trusted {
		known["/"+file] = true
		if _, there := links[StoreName(file)]; !there {
			out[StoreName(file)] = "/" + file
		}
	}
	for name, target := range links {
		ours := strings.HasPrefix(target, "/"+SystemDir+"/") || strings.HasPrefix(target, "/"+LocalDir+"/")
		if ours && !known[target] {
			out[name] = ""
		}
	}
	return out
}

// Rehash returns which links by hashes the store lacks, with their targets, and which it has too many, with "". Of
// files with the same certificate, the first has a link; a link that is right keeps its number.
func Rehash(files []File, links map[string]string) map[string]string {
	missing := make(map[string]string) // by file, the hash
	seen := make(map[Certificate]bool)
	var order []string
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range files {
		hash, ok := Subject(f.Content)
		if !ok || seen[Certificates(f.Content)[0]] {
			continue
		}
		seen[Certificates(f.Content)[0]] = true
		missing[f.Name] = hash
		order = append(order, f.Name)
	}
	out := make(map[string]string)
	taken := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(links)) {
		target := links[name]
		if !IsHash(name) {
			continue
		}
		if hash, ok := missing[target]; ok && hash == name[:8] && !taken[target] {
			taken[target], taken[name] = true, true
		} else if target != "" && !strings.Contains(target, "/") {
			out[name] = "" // to a file in the store that has no such certificate
		} else {
			taken[name] = true // somebody's own
		}
	}
	for _, file := range order {
		if taken[file] {
			continue
		}
		for i := 0; ; i++ {
			name := fmt.Sprintf("%s.%d", missing[file], i)
			if !taken[name] {
				taken[name] = true
				out[name] = file
				break
			}
		}
	}
	return out
}
