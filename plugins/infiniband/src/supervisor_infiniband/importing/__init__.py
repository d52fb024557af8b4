"""Configuration files of other RDMA device plugins, translated into this plugin's section."""
