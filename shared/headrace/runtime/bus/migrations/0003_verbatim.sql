-- Records of protocols that are not ours, published from the same outbox.

set local lock_timeout = '5s';
-- Key and headers in base64, since neither needs to be text, and the partition that is wanted.
alter table outbox add column verbatim json;
