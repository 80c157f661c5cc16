// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/langpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// pgVersion is the file in which PostgreSQL writes the version that its data are of.
const pgVersion = "PG_VERSION"

// maxVersionFile is how much of a file is read that names a version.
const maxVersionFile = 1 << 20

// clusterPlaces are where packages and images of PostgreSQL have data; "*" stands for one name.
var clusterPlaces = []string{
	"var/lib/postgresql/data", "var/lib/postgresql/*/main", "var/lib/postgresql/*/*", "var/lib/postgresql/*/data",
	"var/lib/pgsql/data", "var/lib/pgsql/*/data",
}

// noteCluster remembers data of PostgreSQL that the storage has anywhere.
func (c *checker) noteCluster(t sides.Three, _ sides.Outcome) error {
	if path.Base(t.Path) == pgVersion {
		c.clusters[path.Dir(t.Path)] = true
	}
	return nil
}

// checkServers finds data whose server is gone, or is of a version that does not read them.
func (c *checker) checkServers() error {
	for _, pattern := range clusterPlaces {
		places, err := expand(c.after, pattern)
		if err != nil {
			return err
		}
		for _, dir := range places {
			c.clusters[dir] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(c.clusters)) {
		if c.inCluster(dir) {
			continue
		}
		if err := c.checkCluster(dir); err != nil {
			return err
		}
	}
	for _, one := range servers {
		if err := c.checkServer(one); err != nil {
			return err
		}
	}
	return nil
}

// inCluster reports whether a directory is in one of those that were noted: PostgreSQL writes its version there, too.
func (c *checker) inCluster(dir string) bool {
	for at := path.Dir(dir); at != "."; at = path.Dir(at) {
		if c.clusters[at] {
			return true
		}
	}
	return false
}

// expand returns the directories that a pattern stands for.
func expand(s *sides.Scene, pattern string) ([]string, error) {
	before, after, more := strings.Cut(pattern, "*")
	if !more {
		return []string{pattern}, nil
	}
	dir := path.Clean(before)
	names, err := s.Names(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		inner, err := expand(s, path.Join(dir, name)+after)
		if err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return out, nil
}

// checkCluster finds data of a version of PostgreSQL whose server was there and is not any more.
func (c *checker) checkCluster(dir string) error {
	var said [2]string
	for i, s := range []*sides.Scene{c.before, c.after} {
		content, err := s.Read(path.Join(dir, pgVersion), maxVersionFile)
		if err != nil {
			return err
		}
		said[i] = strings.TrimSpace(string(content))
	}
	version := said[1]
	if version == "" || strings.Contains(version, "/") || said[0] != version {
		return nil
	}
	before, err := hasPostgres(c.before, version)
	if err != nil || !before {
		return err
	}
	after, err := hasPostgres(c.after, version)
	if err != nil || after {
		return err
	}
	c.find(policy.ConcernServerData, dir, "", "holds data of PostgreSQL %s, whose server is not there any more",
		version)
	return nil
}

// hasPostgres reports whether there is the server of a version of PostgreSQL.
func hasPostgres(s *sides.Scene, version string) (bool, error) {
	has, err := anyOf(s, []string{
		"usr/lib/postgresql/" + version + "/bin/postgres", "usr/lib/postgresql" + version + "/bin/postgres",
		"usr/libexec/postgresql" + version + "/postgres", "usr/libexec/postgresql/" + version + "/postgres",
		"usr/pgsql-" + version + "/bin/postgres",
	})
	if err != nil || has {
		return has, err
	}
	for _, one := range []struct{ program, catalog string }{
		{"usr/local/bin/postgres", "usr/local/share/postgresql/postgres.bki"},
		{"usr/bin/postgres", "usr/share/postgresql/postgres.bki"}, {"usr/bin/postgres", "usr/share/pgsql/postgres.bki"},
	} {
		if has, err := s.Has(one.program); err != nil || !has {
			if err != nil {
				return false, err
			}
			continue
		}
		content, err := s.Read(one.catalog, 32*maxVersionFile)
		if err != nil {
			return false, err
		}
		first, _, _ := strings.Cut(string(content), "\n")
		if strings.TrimSpace(strings.TrimPrefix(first, "# PostgreSQL")) == version {
			return true, nil
		}
	}
	return false, nil
}

// server is a kind of server whose data do not show which version they need.
type server struct {
	name     string
	data     []string // a file in each of the places where it has data
	programs []string
	written  []string // files beside the data that name the version which wrote them last
	packages []string // beginnings of the names of packages that have the server
}

var servers = []server{
	{
		name: "MySQL or MariaDB", data: []string{"var/lib/mysql/ibdata1"},
		programs: []string{
			"usr/sbin/mysqld", "usr/sbin/mariadbd", "usr/bin/mysqld", "usr/bin/mariadbd", "usr/libexec/mysqld",
			"usr/libexec/mariadbd",
		},
		written:  []string{"var/lib/mysql/mariadb_upgrade_info", "var/lib/mysql/mysql_upgrade_info"},
		packages: []string{"mariadb-server", "mysql-server", "mysql-community-server", "default-mysql-server"},
	},
	{name: "MongoDB", data: []string{"var/lib/mongodb/WiredTiger", "data/db/WiredTiger"},
		programs: []string{"usr/bin/mongod"}},
	{name: "Redis", data: []string{"var/lib/redis/dump.rdb"},
		programs: []string{"usr/bin/redis-server", "usr/local/bin/redis-server"}},
	{name: "OpenLDAP", data: []string{"var/lib/ldap/data.mdb", "var/lib/openldap/data.mdb"},
		programs: []string{"usr/sbin/slapd"}},
}

// checkServer finds data of a server that is gone, or that is older than what wrote the data.
func (c *checker) checkServer(one server) error {
	for _, data := range one.data {
		there, err := c.after.Has(data)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		lost, err := c.lost(one.programs)
		if err != nil {
			return err
		}
		if lost {
			c.find(policy.ConcernServerData, path.Dir(data), "", "holds data of %s, whose server is not there any more",
				one.name)
			continue
		}
		if err := c.checkLower(one, path.Dir(data)); err != nil {
			return err
		}
	}
	return nil
}

// release is the part of a version that says which data a server reads.
var release = regexp.MustCompile(`^(?:[0-9]+:)?([0-9]+\.[0-9]+)`)

// checkLower finds data that a later release wrote than the server of the result is.
func (c *checker) checkLower(one server, dir string) error {
	written := ""
	for _, name := range one.written {
		content, err := c.after.Read(name, maxVersionFile)
		if err != nil {
			return err
		}
		if found := release.FindStringSubmatch(string(content)); found != nil {
			written = found[1]
		}
	}
	for _, choice := range c.in.Packages.All() {
		if written == "" || !choice.Effective.Installed() ||
			!slices.ContainsFunc(one.packages, func(begin string) bool {
				return strings.HasPrefix(choice.Effective.Name, begin)
			}) {
			continue
		}
		found := release.FindStringSubmatch(choice.Effective.Version)
		if found == nil || choice.User.Installed() && choice.User.Version == choice.Effective.Version {
			continue // as it was
		}
		if order, err := langpkg.Dotted(found[1], written); err == nil && order < 0 {
			c.find(policy.ConcernServerData, dir, choice.Key,
				"holds data that %s %s wrote; the server here would be %s", one.name, written, found[1])
			return nil
		}
	}
	return nil
}
